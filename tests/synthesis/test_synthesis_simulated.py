from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.errors import ConfigError
from aberra.method import Method
from aberra.synthesis.phantom import draw_phantom, render
from aberra.synthesis.simulated import Simulated, simulated_scans
from aberra.training import Sampler, TrainingConfig
from aberra.workflows.fit import plan_recipe


def _scans(**options):
    given = {"spacing": 8.0, "seed": 3, "count": 2} | options
    return list(simulated_scans(given.pop("channels", ["flair"]), **given))


def _entropy(scan, channel=0):
    """Of a histogram of the brain's intensities, in bits."""
    inside = scan.data[channel][scan.mask]
    counts = np.histogram(inside / inside.max(), bins=64, range=(0, 1))[0]
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def test_fewer_details_are_less_entropy_of_the_same_heads():
    smooth, full = _scans(spacing=4.0, detail=0.0), _scans(spacing=4.0, detail=1.0)
    for one, other in zip(smooth, full, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert _entropy(one) < _entropy(other) - 0.2
    assert not np.array_equal(smooth[0].mask, smooth[1].mask)


def test_channels_are_of_one_head_and_may_be_of_any_name():
    (scan,) = _scans(channels=["t1", "swi", "dwi"], count=1)
    assert scan.channels == ("t1", "swi", "dwi")
    assert ((scan.data > 0) == scan.mask).all()
    assert not np.allclose(scan.data[1], scan.data[2])


def test_the_same_seed_gives_the_same_scans():
    for one, other in zip(_scans(), _scans(), strict=True):
        np.testing.assert_array_equal(one.data, other.data)
    assert not np.array_equal(_scans()[0].data, _scans(seed=4)[0].data)


def test_real_samples_stay_what_they_are_beside_simulated_ones():
    shape = {"dims": 2, "size": (24, 24)}
    real, other = (Sampler(_scans(seed=seed), TrainingConfig(), **shape) for seed in (1, 2))
    both = Simulated(real, other)
    x, mask, y = both.draw([0, 7, 0], 5)
    for found, expected in zip((x, mask), real.draw([0, 7, 0], 5), strict=True):
        torch.testing.assert_close(found, expected)
    assert y.shape == x.shape
    assert not torch.allclose(x, y)
    torch.testing.assert_close(both.draw([0, 7, 0], 5)[2], y)
    assert len(both) == len(real)


def test_simulated_samples_come_again_where_there_are_fewer():
    shape = {"dims": 2, "size": (24, 24)}
    real, other = (Sampler(_scans(count=count), TrainingConfig(), **shape) for count in (2, 1))
    x, _, y = Simulated(real, other).fixed(100, 0)
    few = len(other)
    assert len(x) == len(y) > few
    torch.testing.assert_close(y[few:], y[: len(y) - few])


def test_images_have_no_simulated_brains_beside_them():
    class Images:
        kind = "image"

    with pytest.raises(ConfigError, match="steganomaly learns from simulated brains"):
        plan_recipe(Method.load("steganomaly"), Images())


def test_a_cohort_of_phantoms_of_the_same_seed_has_other_heads():
    (scan,) = _scans(count=1, seed=1)
    other = render(draw_phantom(1, 0), 8.0)
    assert scan.mask.shape == other.mask.shape
    assert not np.array_equal(scan.mask, other.mask)
