from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aberra.errors import InputError
from aberra.volume import Volume


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
    """A slice of a memory map must not cost reading all of it: nothing is checked, nothing is copied."""
    checked = Volume(
        data=np.ones((1, 2, 2, 2)), affine=np.eye(4), lesion=np.eye(2, dtype=bool)[None].repeat(2, axis=0)
    )
    fields = {field.name: getattr(checked, field.name) for field in dataclasses.fields(Volume)}
    data = np.full_like(checked.data, np.nan)  # would be refused
    stored = Volume.stored(**fields | {"data": data})
    assert stored.data is data
    assert stored.spacing == checked.spacing
    assert Volume.stored(**fields).content_hash() == checked.content_hash()
