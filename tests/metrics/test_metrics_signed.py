from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from aberra.metrics.signed import mse, ssim

RNG = np.random.default_rng(0)


def test_error_counts_the_sign_and_the_region_alone():
    truth = RNG.normal(size=(1, 2, 8, 8))
    region = np.zeros((2, 8, 8), bool)
    region[0, 2:6] = True
    assert mse(truth, truth, region) == 0
    assert mse(-truth, truth, region) == pytest.approx(4 * (truth[0][region] ** 2).mean())
    elsewhere = truth + ~region
    assert mse(elsewhere, truth, region) == 0


def test_similarity_is_that_of_maps_brought_to_one_range():
    truth, region = RNG.normal(size=(1, 1, 16, 16)), np.ones((1, 16, 16), bool)
    assert ssim(3 * truth + 5, truth, region) == pytest.approx(1)  # scale and offset are taken away
    assert ssim(-truth, truth, region) < 0
    other = RNG.normal(size=truth.shape)
    first, second = ((each - each.min()) / np.ptp(each) for each in (other[0, 0], truth[0, 0]))
    assert ssim(other, truth, region) == pytest.approx(structural_similarity(first, second, data_range=1.0))
    assert np.isfinite(ssim(np.zeros_like(truth), truth, region))
