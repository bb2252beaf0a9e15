"""Grids are the same where their voxels lie in the same places."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aberra.errors import InputError
from aberra.io import grid_of, onto, read, read_case, read_labels, read_mask, turned
from aberra.volume import Volume
from dicom_series import affine, brain, enhanced, save, slices, write
from strategies import affines

TURNS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
SHAPES = st.tuples(*[st.integers(1, 6)] * 3)


def _volume(shape, grid, seed=0):
    data = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    kinds = (data[0] > 0).astype(np.uint8) * 3
    return Volume(
        data=data, affine=grid, channels=("a", "b"), mask=data[1] > 0, lesion=kinds > 0, kinds=kinds
    )


def _other(volume, axes, flips):
    """The same voxels in another order of the axes, some of them backwards."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for here, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        turn[axis, here] = -1 if flip else 1
        turn[axis, 3] = volume.shape[axis] - 1 if flip else 0
    where = tuple(axis for axis, flip in enumerate(flips) if flip)

    def moved(array):
        return np.flip(array.transpose(axes), where)

    return Volume(
        data=np.stack([moved(channel) for channel in volume.data]),
        affine=volume.affine @ turn,
        channels=volume.channels,
        mask=moved(volume.mask),
        lesion=moved(volume.lesion),
        kinds=moved(volume.labels),
    )


@settings(max_examples=40, deadline=None)
@given(grid=affines(), shape=SHAPES, turn=st.sampled_from(TURNS), seed=st.integers(0, 99))
def test_any_order_of_axes_is_turned_back(grid, shape, turn, seed):
    volume = _volume(shape, grid, seed)
    found = onto(_other(volume, *turn), volume)
    assert found is not None
    np.testing.assert_array_equal(found.affine, volume.affine)
    for name in ("data", "mask", "lesion", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(volume, name))


@pytest.mark.parametrize("turn", TURNS)
def test_all_48_orders(turn):
    volume = _volume((3, 4, 5), affine())
    found = onto(_other(volume, *turn), volume)
    assert found is not None
    np.testing.assert_array_equal(found.data, volume.data)


@settings(max_examples=40, deadline=None)
@given(
    grid=affines(),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    turn=st.sampled_from(TURNS),
    axis=st.integers(0, 2),
    shift=st.sampled_from([-1.0, -0.5, 0.25, 0.5, 1.0]),
)
def test_a_grid_that_is_shifted_is_another(grid, shape, turn, axis, shift):
    volume = _volume(shape, grid)
    away = np.eye(4)
    away[axis, 3] = shift
    moved = volume.with_(affine=grid @ away)
    assert onto(_other(moved, *turn), volume) is None


def _stretched(grid):
    return grid @ np.diag([1.1, 1, 1, 1])


def _turned_a_little(grid):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]]
    return turn @ grid


def _mirrored(grid):
    return np.diag([-1.0, 1, 1, 1]) @ grid


@pytest.mark.parametrize("change", [_stretched, _turned_a_little, _mirrored])
def test_a_grid_that_is_nearly_the_same_is_another(change):
    volume = _volume((9, 10, 11), affine())
    assert onto(volume.with_(affine=change(volume.affine)), volume) is None


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_the_tolerance_is_in_voxels(scale):
    grid = np.diag([scale, scale, scale, 1.0])
    volume = _volume((9, 10, 11), grid)
    for part, same in ((0.02, True), (0.3, False)):
        moved = grid.copy()
        moved[0, 3] = part * scale
        assert (onto(volume.with_(affine=moved), volume) is not None) == same


def test_a_singular_affine_is_no_grid():
    assert turned(((2, 2, 2), np.eye(4)), ((2, 2, 2), np.zeros((4, 4)))) is None


def _as_other_tools_write(volume, path, dtype=np.float32):
    """(i, j, k) = (column, row, slice), rows and columns counted the other way round, as dcm2niix
    does.
    """
    data = np.flip(volume.data[0].transpose(2, 1, 0), 1)
    turn = np.array([[0.0, 0, 1, 0], [0, -1, 0, volume.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.ascontiguousarray(data).astype(dtype), volume.affine @ turn), path)
    return path


@pytest.mark.parametrize("kind", ["files", "frames"])
def test_masks_of_other_tools_fit_dicom_scans(kind, tmp_path):
    data = brain()
    scan = (
        write(slices(data), tmp_path / "scan")
        if kind == "files"
        else save(enhanced(data), tmp_path / "scan.dcm")
    )
    volume = read(scan)
    labels = np.zeros(data.shape, np.uint8)
    labels[1, 2:5, 1] = 2
    labels[4, 0, 3] = 1
    truth = _as_other_tools_write(
        volume.with_(data=labels[None].astype(np.float32)), tmp_path / "x.nii.gz", np.uint8
    )
    np.testing.assert_array_equal(read_labels(truth, volume), labels)
    np.testing.assert_array_equal(read_mask(truth, volume), labels > 0)
    assert turned(grid_of(truth), grid_of(scan)) is not None


def test_a_channel_in_another_order_is_stacked_on_the_first(tmp_path):
    folder = write(slices(brain()), tmp_path / "scan")
    volume = read(folder)
    other = _as_other_tools_write(volume.with_(data=volume.data + 5), tmp_path / "t1.nii")
    both = read_case({"flair": folder, "t1": other})
    np.testing.assert_array_equal(both.data[1], both.data[0] + 5)
    np.testing.assert_array_equal(both.affine, volume.affine)


def test_headers_give_the_grid_that_reading_gives(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5, 1), np.int16), affine()), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Pair(np.ones((3, 4, 5), np.int16), affine()), tmp_path / "b.hdr")
    write(slices(brain()), tmp_path / "c")
    for name in ("a.nii.gz", "b.hdr", "b.img", "c", "c/IM0001.dcm"):
        shape, grid = grid_of(tmp_path / name)
        volume = read(tmp_path / name)
        assert shape == volume.shape
        np.testing.assert_array_equal(grid, volume.affine)
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "d.png")
    assert grid_of(tmp_path / "d.png") == ((1, 4, 6), None)


def test_images_are_compared_by_size(tmp_path):
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(tmp_path / "a.png")
    Image.fromarray(np.eye(4, 6, dtype=np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(np.eye(6, 4, dtype=np.uint8)).save(tmp_path / "turned.png")
    volume = read(tmp_path / "a.png")
    assert read_mask(tmp_path / "mask.png", volume).sum() == 4
    with pytest.raises(InputError, match=r"turned\.png.*resample the mask"):
        read_mask(tmp_path / "turned.png", volume)
