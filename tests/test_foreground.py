from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from aberra.cohort.fingerprint import of_volume
from aberra.foreground import constant, level, nonzero, region
from aberra.prepare.brain_mask import BrainMask
from aberra.volume import Volume

BALL = ((np.indices((20, 22, 24)) - 11) ** 2).sum(axis=0) < 64


def _brain(outside=0.0, gain=1000.0, offset=0.0):
    """A ball with structure in a background of one value."""
    tissue = gain * (1 + 0.2 * np.random.default_rng(0).random(BALL.shape)) + offset
    return Volume(
        data=np.where(BALL, tissue, outside)[None].astype(np.float32), affine=np.eye(4) * [4, 4, 4, 1]
    )


@pytest.mark.parametrize("outside", [0.0, 5.0, -1024.0, -4.8e-6, 1e-30])
def test_any_background_of_one_value_is_background_for_all(outside):
    plain, scan = _brain(), _brain(outside)
    assert level(scan.data[0]) == np.float32(outside)
    np.testing.assert_array_equal(nonzero(scan.data), BALL)
    np.testing.assert_array_equal(region(scan), BALL)
    for method in ("auto", "nonzero", "strip"):
        np.testing.assert_array_equal(BrainMask(method=method)(scan).mask, BALL)
    found, expected = of_volume(scan), of_volume(plain)
    assert found.skull_stripped
    assert found.foreground == expected.foreground == {"non-zero": 1}
    assert found.intensity["image"]["profile"] == pytest.approx(expected.intensity["image"]["profile"])


@pytest.mark.parametrize("size", [1e-7, -1e-7, 1e-6])
def test_rounding_around_zero_is_background(size):
    noise = (size * np.random.default_rng(1).random(BALL.shape)).astype(np.float32)
    scan = _brain()
    rounded = scan.with_(data=scan.data + np.where(BALL, 0, noise)[None] * 900)
    np.testing.assert_array_equal(nonzero(rounded.data), BALL)
    np.testing.assert_array_equal(BrainMask()(rounded).mask, BALL)


def test_intensities_that_are_only_small_are_foreground():
    np.testing.assert_array_equal(nonzero(_brain(gain=1e-12).data), BALL)
    dark = _brain().with_(data=_brain().data * np.where(BALL & (np.indices(BALL.shape)[0] < 9), 1e-3, 1))
    np.testing.assert_array_equal(nonzero(dark.data), BALL)


def test_a_mask_is_the_region_and_channels_add_up():
    mask = np.roll(BALL, 3, axis=1)
    np.testing.assert_array_equal(region(_brain().with_(mask=mask)), mask)
    two = np.stack([_brain().data[0], np.roll(_brain(7.0).data[0], 3, axis=1)])
    np.testing.assert_array_equal(nonzero(two), BALL | mask)


def test_measured_air_is_no_background():
    rng = np.random.default_rng(2)
    air = np.abs(rng.normal(0, 10, BALL.shape))
    scan = _brain().with_(data=np.where(BALL, _brain().data[0], np.round(air))[None])
    assert level(scan.data[0]) == 0
    assert not of_volume(scan).skull_stripped
    soft = gaussian_filter(_brain().data[0], 2)
    assert level(soft) == 0


def _measured(inner):
    """Structure where ``inner``, air that was measured elsewhere; so small that it is taken for no
    head.
    """
    rng = np.random.default_rng(4)
    data = np.where(inner, 900 + 200 * rng.random(inner.shape), np.abs(rng.normal(0, 10, inner.shape)) + 1)
    return Volume(data=data[None].astype(np.float32), affine=np.eye(4))


@pytest.mark.parametrize(
    ("scan", "rule"),
    [
        (_brain(), "nonzero"),
        (_measured(BALL), "otsu"),
        (_measured(np.indices(BALL.shape)[0] > 4), "all"),
        (_brain().with_(data=gaussian_filter(_brain().data, (0, 2, 2, 2), truncate=2)), "otsu"),  # air that fades into zeros
    ],
)  # fmt: skip
def test_what_describes_a_cohort_and_what_prepares_it_find_the_same_foreground(scan, rule):
    prepared, described = BrainMask()(scan), of_volume(scan)
    assert prepared.provenance["brain_mask"] == rule
    assert described.foreground == {{"nonzero": "non-zero"}.get(rule, rule): 1}
    assert described.foreground_fraction == pytest.approx(prepared.mask.mean())
    assert described.skull_stripped == (rule == "nonzero")


@pytest.mark.parametrize(
    ("data", "mask", "said"),
    [
        (np.full(BALL.shape, 5.0), None, r"image is constant \(5 everywhere\)"),
        (np.full(BALL.shape, -1024.0), None, r"\(-1024 everywhere\)"),
        (np.zeros(BALL.shape), None, r"\(0 everywhere\)"),
        (BALL * 5.0, None, r"\(5 in all of its foreground\)"),
        (np.where(BALL, 5.0, -3.0), None, r"\(5 in all of its foreground\)"),
        (np.where(BALL, 5.0, np.random.default_rng(0).random(BALL.shape)), BALL, r"\(5 in all"),
        (5 + 1e-6 * np.random.default_rng(0).random(BALL.shape), None, "constant"),
    ],
)
def test_constants(data, mask, said):
    import re

    volume = Volume(data=data[None], affine=np.eye(4), mask=mask)
    assert re.search(said, constant(volume))


def test_what_is_not_constant():
    assert not constant(_brain())
    assert not constant(_brain().with_(mask=BALL))
    assert not constant(
        _brain().with_(data=BALL[None] * 1.0 + (np.indices(BALL.shape)[0] > 10))
    )  # two labels


def test_a_constant_channel_among_others_is_named():
    good = _brain().data[0]
    for flat in (np.full(BALL.shape, 3.0), BALL * 3.0, np.zeros(BALL.shape)):
        volume = Volume(data=np.stack([good, flat]), affine=np.eye(4), channels=("t1", "t2"))
        assert constant(volume).startswith("t2 is constant")
