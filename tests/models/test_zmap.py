from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import NotFittedError
from aberra.method import Method
from aberra.models.zmap import ZMap


def _cohort(folder, cases=6, edge=16):
    """Noise on a cube of foreground; every second case has a lesion in two of its slices."""
    rng, rows = np.random.default_rng(0), ["case,patient,flair,lesion,split"]
    for index in range(cases):
        scan, lesion = np.zeros((2, edge, edge, edge), dtype=np.float32)
        scan[3:-3, 3:-3, 3:-3] = 5 + rng.random((edge - 6,) * 3)
        if index % 2:
            lesion[5:9, 5:9, index + 4 : index + 6] = 1  # the third axis is the slices'
        for name, array in (("flair", scan), ("lesion", lesion)):
            nibabel.save(
                nibabel.Nifti1Image(array, np.diag([8.0, 8.0, 8.0, 1.0])), folder / f"{index}_{name}.nii.gz"
            )
        rows.append(f"{index},{index},{index}_flair.nii.gz,{index}_lesion.nii.gz,train")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return Cohort.read(folder / "manifest.csv")


def test_lesion_free_means_that_no_slice_with_a_lesion_is_learnt(tmp_path):
    cohort = _cohort(tmp_path)
    settings = {"prepare.register": "none", "prepare.mask": "nonzero", "prepare.spacing": [8.0, 8.0, 8.0]}
    method = Method.load("zmap", settings | {"training.slices": "lesion-free"})
    detector = Detector.fit(method, cohort, out=tmp_path / "model", workers=1, calibrated=False)

    prepared = [detector.recipe(case.read(list(detector.channels))) for case in cohort]
    free = [each.mask & ~each.lesion.any(axis=(1, 2), keepdims=True) for each in prepared]
    assert np.sum(free) < sum(each.mask.sum() for each in prepared)
    counted = np.sum(free, axis=0)
    np.testing.assert_array_equal(detector.model.count, counted)
    total = np.sum([each.data[0] * part for each, part in zip(prepared, free, strict=True)], axis=0)
    seen = counted > 0
    np.testing.assert_allclose(
        detector.model.mean[0].numpy()[seen], (total / np.maximum(counted, 1))[seen], atol=1e-5
    )


def test_what_was_not_fitted_says_so():
    with pytest.raises(NotFittedError, match="zmap: not fitted"):
        ZMap(channels=1, size=(4, 4, 4)).score_volume(torch.rand(1, 4, 4, 4), torch.ones(4, 4, 4))
