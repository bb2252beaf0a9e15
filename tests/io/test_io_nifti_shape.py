"""Axes of length 1: one volume or slice however many there are, and results in the file's own
shape.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from aberra.errors import InputError
from aberra.io import read, read_case, read_mask
from aberra.result import Result

SHAPES = [
    ((6, 7, 8), (6, 7, 8)),
    ((6, 7, 8, 1), (6, 7, 8)),
    ((6, 7, 8, 1, 1), (6, 7, 8)),
    ((6, 7, 8, 1, 1, 1, 1), (6, 7, 8)),
    ((6, 7), (6, 7, 1)),
    ((6, 7, 1), (6, 7, 1)),
    ((6, 7, 1, 1, 1), (6, 7, 1)),
    ((6, 1, 7), (6, 1, 7)),
    ((1, 6, 7, 1), (1, 6, 7)),
]


def _scan(path, shape, seed=0):
    data = np.random.default_rng(seed).random(shape).astype(np.float32)
    affine = np.array([[0, 2.0, 0, 5], [-2.0, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    nib.Nifti1Image(data, affine).to_filename(path)
    return data


@pytest.mark.parametrize(("shape", "grid"), SHAPES)
def test_trailing_axes_are_left_out_and_come_back(shape, grid, tmp_path):
    data = _scan(tmp_path / "scan.nii.gz", shape)
    found = read(tmp_path / "scan.nii.gz")
    assert found.shape == grid
    assert found.is_image == (1 in grid)
    np.testing.assert_array_equal(found.data[0], data.reshape(grid))
    found.write(tmp_path / "again.nii.gz")
    again = nib.load(tmp_path / "again.nii.gz")
    assert again.shape == shape
    np.testing.assert_array_equal(again.get_fdata(), data)
    np.testing.assert_allclose(again.affine, nib.load(tmp_path / "scan.nii.gz").affine)


@pytest.mark.parametrize(("shape", "grid"), SHAPES)
def test_all_that_a_result_holds_has_the_shape_of_the_scan(shape, grid, tmp_path):
    _scan(tmp_path / "scan.nii.gz", shape)
    scan = read(tmp_path / "scan.nii.gz", channel="t1")
    mask = scan.data[0] > 0.5
    result = Result(
        case="a", paths={}, map=scan.with_(channels=("anomaly",)), mask=mask, reconstruction=scan, score=1.0, p=None,
        components=[], threshold={"protocol": "x", "value": 0.5}, scale={"low": 0.0, "high": 1.0},
        uncertainty=scan.with_(channels=("uncertainty",)), kinds=mask.astype(np.uint8) * 3,
    )  # fmt: skip
    result.save(tmp_path / "a")
    files = sorted((tmp_path / "a").glob("*.nii.gz"))
    assert len(files) == 5
    assert {nib.load(file).shape for file in files} == {shape}
    again = Result.load(tmp_path / "a")
    np.testing.assert_array_equal(again.mask, mask)
    np.testing.assert_array_equal(again.kinds, mask * 3)
    for each in (again.map, again.reconstruction, again.uncertainty):
        assert each.shape == grid
        np.testing.assert_array_equal(each.data, scan.data)


def test_other_grids_and_several_channels_have_their_own_shape(tmp_path):
    _scan(tmp_path / "a.nii.gz", (6, 7, 8, 1))
    _scan(tmp_path / "b.nii.gz", (6, 7, 8), seed=1)
    two = read_case({"a": tmp_path / "a.nii.gz", "b": tmp_path / "b.nii.gz"})
    two.write(tmp_path / "two.nii.gz")
    assert nib.load(tmp_path / "two.nii.gz").shape == (6, 7, 8, 2)
    one = read(tmp_path / "a.nii.gz")
    one.with_(data=np.ones((1, 3, 3, 3))).write(tmp_path / "other.nii.gz")
    assert nib.load(tmp_path / "other.nii.gz").shape == (3, 3, 3)
    _scan(tmp_path / "mask.nii.gz", (6, 7, 8, 1, 1))
    assert read_mask(tmp_path / "mask.nii.gz", one).shape == (6, 7, 8)


@pytest.mark.parametrize("shape", [(6, 7, 8, 2), (6, 7, 8, 1, 2), (6, 7, 1, 3)])
def test_anything_more_than_one_volume_is_refused(shape, tmp_path):
    _scan(tmp_path / "scan.nii.gz", shape)
    with pytest.raises(InputError, match=r"dimensions.*Split"):
        read(tmp_path / "scan.nii.gz")
