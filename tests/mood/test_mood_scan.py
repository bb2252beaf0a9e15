from __future__ import annotations

import numpy as np
import pytest
from challenge_scans import MM, head, numbers

from aberra.errors import InputError
from aberra.mood import Scan
from aberra.volume import Volume


def test_intensities_are_scaled_to_one_and_the_background_stays_zero():
    volume = head()
    scan = Scan.of(volume)
    low, high = scan.range
    assert low == 0
    assert (scan.data.min(), scan.data.max()) == (0, 1)
    assert np.array_equal(scan.data == 0, volume.data[0] == 0)
    inside = (volume.data[0] > 0) & (volume.data[0] < high)
    assert np.allclose(scan.data[inside] * high, volume.data[0][inside], rtol=1e-5)
    assert (volume.data[0][volume.data[0] > 0] > high).mean() == pytest.approx(0.005, abs=0.001)


def test_gain_and_offset_change_nothing_where_the_background_was_measured():
    volume = head()
    air = np.random.default_rng(3).uniform(-1, 1, volume.data.shape).astype(np.float32)
    whole = volume.with_(data=volume.data + np.where(volume.data > 0, 0, air))
    moved = whole.with_(data=2 * whole.data - 1000)  # as in Hounsfield units
    before, after = Scan.of(whole), Scan.of(moved)
    assert np.allclose(before.data, after.data, atol=1e-4)
    assert np.array_equal(before.inside, after.inside)
    assert (before.inside & (numbers() > 0)).sum() > 0.95 * (numbers() > 0).sum()
    assert before.inside.sum() < 1.2 * (numbers() > 0).sum()


def test_the_mask_is_the_foreground_and_its_holes_are_filled():
    volume = head()
    mask = numbers() == 2
    scan = Scan.of(volume.with_(mask=mask))
    assert np.array_equal(scan.inside, mask | (numbers() == 3))


def test_depth_is_the_distance_to_the_border_also_of_the_grid():
    block = np.ones((1, 9, 9, 9), np.float32)
    block[0, ::2] = 2
    scan = Scan.of(Volume(data=block, affine=np.diag([2.0, 2, 2, 1]), mask=np.ones((9, 9, 9), bool)))
    assert scan.depth[4, 4, 4] == 10
    assert scan.depth[0, 4, 4] == 2


def test_offsets_are_millimetres_from_the_centre():
    offsets = Scan.of(head()).offsets((3, 4, 5))
    assert not offsets[:, 3, 4, 5].any()
    assert offsets[:, 4, 4, 3].tolist() == [MM, 0, -2 * MM]


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (Volume(data=np.random.default_rng(0).random((1, 1, 9, 9)), affine=np.eye(4)), "a single slice"),
        (Volume(data=np.random.default_rng(0).random((2, 5, 9, 9)), affine=np.eye(4), channels=("a", "b")), "2 channels"),
        (Volume(data=np.ones((1, 5, 9, 9)), affine=np.eye(4)), "constant"),
    ],
)  # fmt: skip
def test_what_is_no_scan_of_the_challenge_is_refused(volume, message):
    with pytest.raises(InputError, match=message):
        Scan.of(volume)
