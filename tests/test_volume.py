from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from aberra.cohort import Case
from aberra.errors import InputError
from aberra.volume import Volume, expect_volume


def test_spacing_orientation_and_voxel_volume():
    affine = np.array([[0, 0, -2.0, 5], [0, -3, 0, 1], [4, 0, 0, 0], [0, 0, 0, 1]])
    volume = Volume(data=np.zeros((2, 3, 4, 5)), affine=affine, channels=("a", "b"))
    assert volume.shape == (3, 4, 5)
    assert volume.spacing == (4.0, 3.0, 2.0)
    assert volume.orientation == "SPL"
    assert volume.voxel_mm3 == pytest.approx(24)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": np.zeros((3, 4, 5))}, r"\(C, D, H, W\)"),
        ({"channels": ("a", "b")}, "names"),
        ({"data": np.full((1, 2, 2, 2), np.nan)}, "NaN"),
        ({"affine": np.zeros((4, 4))}, "invertible"),
        ({"mask": np.ones((1, 1, 1), bool)}, "mask"),
    ],
)
def test_inconsistent_volumes_are_refused(changes, said):
    good = {"data": np.zeros((1, 2, 2, 2)), "affine": np.eye(4)}
    with pytest.raises(InputError, match=said):
        Volume(**(good | changes))


def test_content_hash_sees_everything_but_provenance():
    volume = Volume(data=np.zeros((1, 2, 2, 2)), affine=np.eye(4))
    assert volume.content_hash() == volume.with_(provenance={"path": "x"}).content_hash()
    for change in (
        {"data": np.ones((1, 2, 2, 2))},
        {"affine": np.diag([2.0, 1, 1, 1])},
        {"mask": np.ones((2, 2, 2), bool)},
    ):
        assert volume.content_hash() != volume.with_(**change).content_hash()


def test_stored_arrays_are_taken_as_they_are():
    """A slice of a memory map must not cost reading all of it: nothing is checked, nothing is
    copied.
    """
    checked = Volume(
        data=np.ones((1, 2, 2, 2)), affine=np.eye(4), lesion=np.eye(2, dtype=bool)[None].repeat(2, axis=0)
    )
    fields = {field.name: getattr(checked, field.name) for field in dataclasses.fields(Volume)}
    data = np.full_like(checked.data, np.nan)  # would be refused
    stored = Volume.stored(**fields | {"data": data})
    assert stored.data is data
    assert stored.spacing == checked.spacing
    assert Volume.stored(**fields).content_hash() == checked.content_hash()


GOOD = {"data": np.zeros((1, 2, 3, 4), np.float32), "affine": np.eye(4)}


@pytest.mark.parametrize(
    "change",
    [
        {"data": "scan.nii.gz"},
        {"data": Path("scan.nii.gz")},
        {"data": None},
        {"data": object()},
        {"data": [[1, 2], [3]]},
        {"data": np.zeros((1, 2, 3, 4), complex)},
        {"data": torch.zeros((1, 2, 3, 4), dtype=torch.complex64)},
        {"data": np.array([[[["a"]]]])},
        {"data": np.array([[[[None]]]])},
        {"data": np.zeros((1, 2, 3, 4), "datetime64[s]")},
        {"data": np.zeros((1, 2, 3, 4), [("r", "u1"), ("g", "u1")])},
        {"data": np.ma.masked_array(np.zeros((1, 2, 3, 4)), mask=True)},
        {"data": np.zeros((2, 3, 4))},
        {"data": np.zeros((1, 1, 2, 3, 4))},
        {"data": np.zeros((1, 0, 3, 4))},
        {"data": np.zeros((0, 2, 3, 4)), "channels": ()},
        {"data": 3.0},
        {"data": np.full((1, 2, 3, 4), np.inf)},
        {"data": np.full((1, 2, 3, 4), 1e300)},
        {"data": torch.full((1, 2, 3, 4), torch.nan)},
        {"data": nib.Nifti1Image(np.zeros((2, 3, 4), np.float32), np.eye(4))},
        {"affine": None},
        {"affine": np.eye(3)},
        {"affine": "identity"},
        {"affine": np.eye(4) * 1j},
        {"affine": np.full((4, 4), np.nan)},
        {"affine": np.diag([1.0, 1, 1, 2])},
        {"affine": np.eye(4) + np.eye(4, k=-3)},
        {"affine": np.diag([1.0, 1, 0, 1])},
        {"channels": ()},
        {"channels": ("a", "b")},
        {"channels": (1,)},
        {"channels": "ab", "data": np.zeros((2, 2, 3, 4))},
        {"mask": np.full((2, 3, 4), 0.3)},
        {"mask": np.full((2, 3, 4), np.nan)},
        {"mask": np.ones((2, 3, 4), complex)},
        {"mask": np.ones((1, 2, 3, 4), bool)},
        {"mask": "mask.nii.gz"},
        {"lesion": np.full((2, 3, 4), 0.5)},
        {"lesion": np.ones((2, 3, 4), bool), "kinds": np.full((2, 3, 4), 300)},
        {"lesion": np.ones((2, 3, 4), bool), "kinds": np.full((2, 3, 4), -1)},
        {"lesion": np.ones((2, 3, 4), bool), "kinds": np.full((2, 3, 4), 1.5)},
        {"provenance": None},
        {"provenance": "scan.nii.gz"},
    ],
)
def test_what_is_no_volume_is_refused(change):
    with pytest.raises(InputError):
        Volume(**(GOOD | change))


@pytest.mark.parametrize(
    "data",
    [
        np.arange(24).reshape(1, 2, 3, 4),
        np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4),
        np.arange(24, dtype=">i2").reshape(1, 2, 3, 4),
        np.arange(24, dtype=np.float16).reshape(1, 2, 3, 4),
        np.arange(24).reshape(1, 2, 3, 4).tolist(),
        torch.arange(24).reshape(1, 2, 3, 4),
        torch.arange(24.0).reshape(1, 2, 3, 4).requires_grad_(),
        torch.arange(24.0).reshape(1, 2, 3, 4).bfloat16(),
        torch.arange(24.0).reshape(1, 2, 3, 4).half(),
        torch.view_as_complex(torch.stack([torch.zeros(24), -torch.arange(24.0)], -1)).conj().imag.reshape(1, 2, 3, 4),
    ],
    ids=lambda data: f"{type(data).__name__}-{getattr(data, 'dtype', '')}",
)  # fmt: skip
def test_real_arrays_and_tensors_keep_their_values(data):
    volume = Volume(data=data, affine=torch.eye(4))
    assert volume.data.dtype == np.float32
    assert volume.affine.dtype == np.float64
    np.testing.assert_array_equal(volume.data.ravel(), np.arange(24))


def test_masks_of_any_whole_numbers_are_taken_and_one_channel_may_be_named_by_a_text():
    labels = np.zeros((2, 3, 4), np.int16)
    labels[0, 0, 0], labels[1, 1, 1] = 3, 255
    volume = Volume(
        **GOOD, mask=labels.astype(np.float64), lesion=torch.tensor(labels), kinds=labels, channels="flair"
    )
    assert volume.channels == ("flair",)
    np.testing.assert_array_equal(volume.mask, labels > 0)
    np.testing.assert_array_equal(volume.lesion, labels > 0)
    np.testing.assert_array_equal(volume.kinds, labels)
    assert Volume(data=np.ones((1, 2, 2, 2), bool), affine=np.eye(4)).data.sum() == 8


@pytest.mark.parametrize("path", [None, 5, np.zeros(3), b"scan.nii.gz", ["a", "b"], torch.zeros(2)])
def test_reading_takes_a_path(path):
    with pytest.raises(InputError, match="expected a path"):
        Volume.read(path)


@pytest.mark.parametrize(
    ("given", "how"),
    [
        ("scan.nii.gz", r"Volume\.read\('scan\.nii\.gz'\)"),
        (Path("scan.nii.gz"), r"Volume\.read\('scan\.nii\.gz'\)"),
        (np.zeros((1, 2, 3, 4)), r"ndarray of shape \(1, 2, 3, 4\); as in .*Volume\(data=array\[None\]"),
        (torch.zeros(2, 3), r"Tensor of shape \(2, 3\)"),
        (nib.Nifti1Image(np.zeros((2, 3, 4), np.float32), np.eye(4)), r"image\.affine"),
        (Case(case="a", patient="a", channels={}), r"detector\.read\(case\)"),
        (None, "NoneType"),
        (5, "an int"),
    ],
)
def test_other_things_than_volumes_are_refused_with_the_way_to_make_one(given, how):
    with pytest.raises(InputError, match=f"expected a Volume, got .*{how}"):
        expect_volume(given)
