from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import ConfigError, InputError, OutputError
from aberra.prepare.orient import Orient
from aberra.synthesis import brats_cohort, write_cohort
from aberra.synthesis.brats import find_patients
from aberra.volume import Volume

SMALL = {"size": 32, "low": 8, "high": 6, "workers": 1, "progress": False}
SEQUENCES = ("t1", "t1ce", "t2", "flair")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Four heads with one tumour each, 6 mm."""
    options = {
        "contrast": ",".join(SEQUENCES), "spacing": 6, "seed": 2, "sources": ["tumour"], "shapes": ["blob"],
        "count": (1, 1), "radius_mm": (14, 18), "workers": 1, "progress": False,
    }  # fmt: skip
    manifest = write_cohort(tmp_path_factory.mktemp("phantoms") / "c", cases=4, lesions=1, **options)
    return [case.read() for case in Cohort.read(manifest)]


def put(folder, volume, *, names=SEQUENCES, pattern="{patient}_{key}.nii.gz", orientation="RAS"):
    """Write a patient as BraTS does: sequences, and tumour classes 1, 2 and 4."""
    folder.mkdir(parents=True)
    turned = Orient(to=orientation)(volume)
    classes = turned.lesion * np.array([1, 2, 4])[np.indices(turned.shape).sum(axis=0) % 3]
    for key, data in [*zip(names, turned.data, strict=True), ("seg", classes)]:
        one = turned.with_(data=data[None].astype(np.float32), channels=(key,), mask=None, lesion=None)
        one.write(folder / pattern.format(patient=folder.name, key=key))


@pytest.fixture
def source(phantoms, tmp_path):
    for index, volume in enumerate(phantoms):
        put(tmp_path / "brats" / "inner" / f"P_{index}", volume)
    return tmp_path / "brats"


def world_centre(volume):
    return volume.affine @ [*np.argwhere(volume.lesion).mean(axis=0), 1]


def test_patients_become_volumes_with_masks_and_splits(source, phantoms, tmp_path):
    cohort = Cohort.read(brats_cohort(source, tmp_path / "out", test=0.25, val=0.25, **SMALL))
    assert cohort.channel_names == SEQUENCES
    assert sorted(case.split for case in cohort) == ["test", "train", "train", "val"]
    assert [case.case for case in cohort] == [f"inner_P_{index}" for index in range(4)]
    for case, original in zip(cohort, phantoms, strict=True):
        volume = case.read()
        height = original.shape[2]
        assert volume.shape == (height - 14, 32, 32)
        assert volume.orientation == "SPL"
        kept = original.lesion[:, :, 8 : height - 6]
        assert volume.lesion.sum() == kept.sum()
        seg = (
            Volume.read(source / "inner" / case.case[6:] / f"{case.case[6:]}_seg.nii.gz").data[0].astype(int)
        )
        classes = (
            np.bincount(each.ravel(), minlength=5)[1:] for each in (volume.labels, seg[:, :, 8 : height - 6])
        )
        np.testing.assert_array_equal(*classes)
        assert case.label == int(kept.any())
        if kept.any():
            alone = np.zeros_like(original.lesion)
            alone[:, :, 8 : height - 6] = kept
            np.testing.assert_allclose(
                world_centre(volume), world_centre(original.with_(lesion=alone)), atol=1e-3
            )
        for channel in volume.data:
            inside = channel[volume.mask]
            assert (inside.min(), inside.max()) == (0, 1)
            assert (channel[~volume.mask] == 0).all()
            # about one percent is clipped at each end
            assert 0.005 < (inside == 1).mean() < 0.02
        record = json.loads((tmp_path / "out" / f"{case.case}.json").read_text())
        share = [area.sum() / brain.sum() for area, brain in zip(volume.lesion, volume.mask, strict=True)]
        np.testing.assert_allclose(record["tumour_share"], share, atol=1e-6)
        assert np.count_nonzero(share) == volume.lesion.any(axis=(1, 2)).sum()


def test_the_way_a_file_is_stored_does_not_matter(phantoms, tmp_path):
    for folder, orientation in (("a", "RAS"), ("b", "LPI")):
        put(tmp_path / folder / "p", phantoms[0], orientation=orientation)
    first, second = (
        Cohort.read(brats_cohort(tmp_path / folder, tmp_path / f"{folder}-out", test=0, val=0, **SMALL))[0]
        for folder in ("a", "b")
    )
    assert first.split == second.split == "train"
    assert first.read().same_grid(second.read())
    np.testing.assert_array_equal(first.read().data, second.read().data)
    np.testing.assert_array_equal(first.read().lesion, second.read().lesion)


def test_padding_keeps_the_brain(phantoms, tmp_path):
    put(tmp_path / "b" / "p", phantoms[0])
    cropped, padded = (
        Cohort.read(
            brats_cohort(tmp_path / "b", tmp_path / str(size), test=0, val=0, **(SMALL | {"size": size}))
        )[0].read()
        for size in (32, 64)
    )
    assert padded.shape[1:] == (64, 64)
    np.testing.assert_array_equal(padded.data[:, :, 16:48, 16:48], cropped.data)


def test_the_seed_decides_the_split_and_nothing_else(source, tmp_path):
    names = {
        tuple(
            case.split
            for case in Cohort.read(
                brats_cohort(source, tmp_path / "out", test=0.25, val=0.25, seed=seed, **SMALL)
            )
        )
        for seed in range(6)
    }
    assert len(names) > 1


def test_an_interrupted_call_is_completed_and_other_settings_refused(source, tmp_path):
    brats_cohort(source, tmp_path / "out", **SMALL)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    stamp = (tmp_path / "out" / "inner_P_0_t1.nii.gz").stat().st_mtime_ns
    for name in ("inner_P_2.json", "inner_P_2_seg.nii.gz", "manifest.csv"):
        (tmp_path / "out" / name).unlink(missing_ok=True)
    brats_cohort(source, tmp_path / "out", **SMALL)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert (tmp_path / "out" / "inner_P_0_t1.nii.gz").stat().st_mtime_ns == stamp
    with pytest.raises(OutputError, match="other settings"):
        brats_cohort(source, tmp_path / "out", **(SMALL | {"low": 7}))


def test_missing_and_doubled_files_are_all_named_and_nothing_is_written(source, tmp_path):
    (source / "inner" / "P_1" / "P_1_t2.nii.gz").unlink()
    shutil.copy(source / "inner" / "P_3" / "P_3_seg.nii.gz", source / "inner" / "P_3" / "again_seg.nii.gz")
    with pytest.raises(InputError) as caught:
        brats_cohort(source, tmp_path / "out", **SMALL)
    message = str(caught.value)
    assert f"{source / 'inner' / 'P_1'}: no *_t2.nii.gz" in message
    assert "P_3: 2 files for seg (P_3_seg.nii.gz, again_seg.nii.gz)" in message
    assert "--channels" in message
    assert "P_0" not in message
    assert not (tmp_path / "out").exists()
    (source / "inner" / "P_3" / "again_seg.nii.gz").unlink()
    assert len(find_patients(source, ["t1", "flair"])) == 4


def test_names_of_later_years(phantoms, tmp_path):
    later = ("t1n", "t1c", "t2w", "t2f")
    put(tmp_path / "b" / "BraTS-GLI-00000-000", phantoms[0], names=later, pattern="{patient}-{key}.nii.gz")
    cohort = Cohort.read(
        brats_cohort(tmp_path / "b", tmp_path / "out", channels=later, test=0, val=0, **SMALL)
    )
    assert cohort.channel_names == later


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"low": 80, "high": 26}, InputError, "P_0: .* axial slices, .*--low"),
        ({"size": 16}, InputError, "P_0: an edge of 16 voxels cuts off .* larger --size"),
        ({"test": 0.6, "val": 0.5}, ConfigError, "leave patients to train"),
        ({"size": 0}, ConfigError, "edge above 0"),
    ],
)
def test_what_cannot_work_says_what_to_do(changes, error, message, source, tmp_path):
    with pytest.raises(error, match=message):
        brats_cohort(source, tmp_path / "out", **(SMALL | changes))
    assert not (tmp_path / "out" / "manifest.csv").exists()
    brats_cohort(source, tmp_path / "out", **SMALL)  # the remedy works in the same folder


def test_bad_contents(source, phantoms, tmp_path):
    with pytest.raises(InputError, match="no folder with NIfTI"):
        brats_cohort(tmp_path / "nothing", tmp_path / "out", **SMALL)
    flat = phantoms[0]
    Volume(data=(flat.mask * 5.0)[None], affine=flat.affine).write(source / "inner" / "P_0" / "P_0_t2.nii.gz")
    with pytest.raises(InputError, match=r"P_0_t2.nii.gz: constant"):
        brats_cohort(source, tmp_path / "out", **SMALL)
    other = np.zeros((1, 5, 5, 5), np.float32)
    Volume(data=other, affine=np.eye(4)).write(source / "inner" / "P_0" / "P_0_t2.nii.gz")
    with pytest.raises(InputError, match=r"P_0_t2.nii.gz: grid"):
        brats_cohort(source, tmp_path / "out2", **SMALL)
