from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest
from label_maps import FREESURFER, RIGHT, renumbered, structures, write

from aberra.cohort import Cohort
from aberra.errors import ConfigError, InputError
from aberra.synthesis import anatomy as a
from aberra.synthesis import lesion_cohort
from aberra.synthesis.scans import MappedScan
from aberra.synthesis.source import HeadSource
from aberra.volume import Volume

MEANS = {
    0: 0,
    a.CORTEX: 60,
    a.WHITE: 100,
    a.VENTRICLE: 25,
    a.CSF: 20,
    a.THALAMUS: 80,
    a.PUTAMEN: 85,
    a.PLEXUS: 40,
    a.SKULL: 0,
}


def _scan(folder, name="t1", *, gain=True, flipped=False, noise=0.0):
    """A T1-like scan of the ellipsoid head and its FreeSurfer map, both files, with the coil's gain
    from left to right.
    """
    numbers = structures()
    x = np.vectorize(MEANS.get)(numbers).astype(np.float32)
    if gain:
        x *= np.linspace(1.4, 0.6, x.shape[0], dtype=np.float32)[:, None, None]
    x += noise * np.random.default_rng(0).standard_normal(x.shape, dtype=np.float32) * (numbers > 0)
    scan = write(folder / f"{name}.nii.gz", x, flipped=flipped)
    labels = write(folder / f"{name}_labels.nii.gz", renumbered(numbers, FREESURFER, RIGHT), flipped=flipped)
    return Volume.read(scan).with_(channels=("t1",)), labels


def test_contrast_and_gain_are_measured(tmp_path):
    volume, labels = _scan(tmp_path)
    scan = MappedScan.of(volume, labels)
    means = np.array(scan.contrasts[0].means)

    assert scan.contrasts[0].bright == -1
    assert means[a.CORTEX] / means[a.WHITE] == pytest.approx(0.6, abs=0.05)
    assert means[a.THALAMUS] / means[a.WHITE] == pytest.approx(0.8, abs=0.06)
    # a field of one coil: high on one side, low on the other, by about as much as was put there
    white = scan.structures == a.WHITE
    across = [scan.gains[0][..., part][white[..., part]].mean() for part in (slice(0, 18), slice(-18, None))]
    assert 1.3 < max(across) / min(across) < 2.4


@pytest.mark.parametrize("flipped", [False, True])
def test_only_lesions_change_and_they_come_back_onto_the_scans_voxels(tmp_path, flipped):
    volume, labels = _scan(tmp_path, flipped=flipped)
    scan = MappedScan.of(volume, labels)
    lesions = scan.draw("ms", np.random.default_rng(1))
    sick = scan.onto(scan.painted(lesions), volume)

    assert sick.shape == volume.shape
    np.testing.assert_array_equal(sick.affine, volume.affine)
    assert sick.lesion.any()
    change = np.abs(sick.data - volume.data)[0]
    assert change[sick.lesion].mean() > 10 * change[~sick.lesion].mean()
    assert (change[volume.data[0] == 0] == 0).all()
    # of multiple sclerosis, where water is dark: darker than what was there, in the mean
    assert (sick.data[0] - volume.data[0])[sick.lesion].mean() < 0


def test_same_lesions_same_bytes_and_no_lesion_no_change(tmp_path):
    volume, labels = _scan(tmp_path, noise=3.0)
    scan = MappedScan.of(volume, labels)
    lesions = scan.draw("tumour", np.random.default_rng(2))
    first, again = (scan.painted(lesions) for _ in range(2))

    assert first.content_hash() == again.content_hash()
    plain = scan.onto(scan.painted(()), volume)
    np.testing.assert_allclose(plain.data, volume.data, rtol=1e-5)
    assert not plain.lesion.any()


def test_water_is_bright_in_one_channel_and_dark_in_the_other(tmp_path):
    volume, labels = _scan(tmp_path, gain=False)
    other = 130 * (volume.data > 0) - volume.data
    both = volume.with_(data=np.concatenate([volume.data, other]), channels=("t1", "flair"))
    scan = MappedScan.of(both, labels)
    sick = scan.painted(scan.draw("wmh", np.random.default_rng(3)))
    dark, bright = (sick.data - scan.volume.data)[:, np.asarray(sick.lesion)].mean(axis=1)

    assert dark < 0 < bright


def test_map_on_another_grid_is_refused(tmp_path):
    volume, _ = _scan(tmp_path)
    other = tmp_path / "small.nii.gz"
    nib.save(nib.Nifti1Image(structures(40), np.diag([3.0, 3.0, 3.0, 1.0])), other)
    with pytest.raises(InputError, match=r"small.nii.gz"):
        MappedScan.of(volume, other)


@pytest.fixture
def cohort(tmp_path):
    rows = [["case", "t1", "labels", "label"]]
    for index in range(4):
        _scan(tmp_path, f"s{index}", noise=2.0)
        rows.append([f"s{index}", f"s{index}.nii.gz", f"s{index}_labels.nii.gz", 0])
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return Cohort.read(tmp_path / "manifest.csv")


def test_a_cohort_gets_each_profile_in_turn(cohort, tmp_path):
    options = {"lesions": 0.5, "profiles": ("ms", "tumour"), "workers": 1, "progress": False}
    made = Cohort.read(lesion_cohort(cohort, tmp_path / "sick", **options))

    sick = [case for case in made if not case.healthy]
    assert len(sick) == 2
    assert all(case.read().lesion.any() for case in sick)
    records = [(tmp_path / "sick" / f"{case.case}.json").read_text() for case in sick]
    assert '"ms"' in records[0]
    assert '"tumour"' in records[1]
    assert [case.groups.get("profile", "") for case in made] == ["", "ms", "", "tumour"]


def test_profiles_without_tissue_maps_are_refused(cohort, tmp_path):
    from dataclasses import replace

    bare = Cohort([replace(case, labels=None) for case in cohort])
    with pytest.raises(ConfigError, match="'labels'"):
        lesion_cohort(bare, tmp_path / "sick", profiles=("ms",), workers=1, progress=False)


def test_training_images_are_real_scans_in_their_share(cohort, tmp_path):
    head = write(tmp_path / "head.nii.gz", structures())
    scans = tuple((str(case.channels["t1"]), str(case.labels), "t1") for case in cohort)
    common = {"anatomies": (head,), "contrasts": {"t1": 1.0}, "profiles": {"ms": 1.0}, "spacing": 3.0}
    only = HeadSource(scans=scans, real=1.0, **common)
    none = HeadSource(scans=scans, real=0.0, **common)

    formats = [[source.image(number).provenance["format"] for number in range(3)] for source in (only, none)]
    assert "phantom" not in formats[0]
    assert formats[1] == ["phantom"] * 3
    image = only.image(0)
    assert image.content_hash() == only.image(0).content_hash()
    assert np.any(image.lesion)
    assert np.isfinite(image.data).all()
