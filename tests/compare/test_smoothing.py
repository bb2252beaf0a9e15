from __future__ import annotations

import pytest
import torch

from aberra.compare.smoothing import smoothed


@pytest.mark.parametrize(("dims", "deep"), [(2, False), (3, True)])
def test_smoothing_stays_within_slices_in_2d(dims, deep):
    spike = torch.zeros(3, 9, 9)
    spike[1, 4, 4] = 1
    found = smoothed(spike, torch.ones(3, 9, 9, dtype=torch.bool), sigma=1.0, dims=dims)
    assert bool(found[0].any()) == bool(found[2].any()) == deep
    assert 0 < float(found[1, 4, 5]) < float(found[1, 4, 4]) < 1


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_nothing_comes_from_outside_the_mask_or_goes_there(sigma):
    values, mask = torch.ones(1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[:, :, :5] = True
    values[:, :, 6:] = 100
    found = smoothed(values, mask, sigma=sigma, dims=2)
    assert not found[~mask].any()
    assert found.max() <= 1 + 1e-6
