"""Label values of lesions, from the mask file to the prepared volume."""

from __future__ import annotations

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import InputError
from aberra.io import read_labels
from aberra.prepare import Recipe, prepare_cohort
from aberra.prepare.crop import Crop
from aberra.prepare.orient import Orient
from aberra.prepare.resample import Resample
from aberra.synthesis.folder import write_files
from aberra.volume import Volume

AFFINE = np.diag([2.0, -2.0, 2.0, 1.0])


@pytest.fixture
def scan():
    """Intensities that are the label values, so that both can be compared after any move."""
    kinds = np.zeros((8, 10, 12), np.uint8)
    kinds[2:5, 3:6, 2:6], kinds[4:7, 6:9, 7:10] = 1, 4
    data = kinds[None].astype(np.float32)
    return Volume(data=data, affine=AFFINE, mask=np.ones_like(kinds, bool), lesion=kinds > 0, kinds=kinds)


@pytest.mark.parametrize(
    "step",
    [
        Orient(to="SPL"),
        Crop(shape=[6, 20, 8], centre="grid"),
        Resample(spacing=[1.0, 2.0, 3.0], order=0),
    ],
)
def test_kinds_move_with_the_intensities(step, scan):
    moved = step(scan)
    assert moved.data.shape != scan.data.shape
    assert moved.kinds.dtype == np.uint8
    np.testing.assert_array_equal(moved.kinds, moved.data[0])
    np.testing.assert_array_equal(moved.kinds > 0, moved.lesion)
    assert set(np.unique(moved.kinds)) == {0, 1, 4}


def test_files_and_the_cache_keep_them(scan, tmp_path):
    files = write_files(tmp_path, "a", scan)
    files |= write_files(tmp_path, "b", scan.with_(lesion=scan.lesion))
    rows = [f"{name},{name},{name}_image.nii.gz,{name}_lesion.nii.gz,1\n" for name in "ab"]
    (tmp_path / "manifest.csv").write_text("case,patient,image,lesion,label\n" + "".join(rows))
    cohort = Cohort.read(tmp_path / "manifest.csv")
    recipe = Recipe.from_config([{"name": "orient"}])
    several, one = prepare_cohort(list(cohort), recipe, tmp_path / "cache", channels=["image"])
    np.testing.assert_array_equal(several.kinds, several.data[0])
    assert one.kinds is None
    np.testing.assert_array_equal(one.labels, one.data[0] > 0)
    assert cohort[0].content_hash() != cohort[1].content_hash()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0]),
        ([0, 1, 2, 4], [0, 1, 2, 4]),
        ([0, 255, 0, 255], [0, 255, 0, 255]),
        ([0, 0.3, 2, 4], [0, 0, 1, 1]),
        ([0, 0.3, 0, 0.3], [0, 1, 0, 1]),
        ([0, 1 + 1e-6, 3 - 1e-6, 1e-6], [0, 1, 3, 0]),
        ([-1, 0, 2, 4], [0, 0, 1, 1]),
        ([0, 1, 2, 256], [0, 1, 1, 1]),
    ],
)
def test_only_whole_numbers_are_labels(values, expected, tmp_path):
    scan = Volume(data=np.array(values, np.float32).reshape(1, 1, 2, 2), affine=np.eye(4))
    scan.write(tmp_path / "mask.nii.gz")
    assert read_labels(tmp_path / "mask.nii.gz", scan).ravel().tolist() == expected


def test_a_volume_keeps_kinds_and_lesion_together(scan):
    lesion, kinds = scan.lesion, scan.kinds
    bare = scan.with_(lesion=lesion)
    assert bare.kinds is None  # of another truth nothing is known but that it is one
    assert scan.with_(lesion=None).labels is None
    assert scan.with_(kinds=(kinds > 0).astype(np.uint8)).kinds is None  # one kind, the value 1, as ever
    assert bare.content_hash() == scan.with_(kinds=None).content_hash() != scan.content_hash()
    for changes in ({"lesion": lesion, "kinds": kinds * 0}, {"lesion": None, "kinds": kinds}):
        with pytest.raises(InputError, match="label values"):
            scan.with_(**changes)
