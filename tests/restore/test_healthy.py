from __future__ import annotations

import numpy as np
import torch

from aberra.detector.windows import Runner
from aberra.restore.healthy import SLICES, healthy_quantile, healthy_slabs
from aberra.volume import Volume


def _volume(depth, size=8, full=0):
    mask = np.zeros((depth, size, size), dtype=bool)
    mask[:, 3:5, 3:5] = True
    mask[full] = True
    return Volume(
        data=np.arange(depth, dtype=np.float32)[None, :, None, None] * mask, affine=np.eye(4), mask=mask
    )


def test_slabs_lie_around_the_fullest_slice_of_up_to_four_volumes():
    run = Runner(dims=2, size=(8, 8))
    x, mask = healthy_slabs([_volume(12, full=7)] * 6, run)
    assert x.shape == (1, SLICES, 8, 8)
    assert mask.flatten(1).all(dim=1).tolist() == [False, False, True, False] * 4
    assert [int(each.max()) for each in x[0, :4]] == [5, 6, 7, 8]


def test_volumes_that_do_not_fit_together_leave_the_first_and_none_leaves_nothing():
    run = Runner(dims=2, size=(8, 8))
    x, _ = healthy_slabs([_volume(12), _volume(12, size=10)], run)
    assert x.shape == (1, 4, 8, 8)
    empty = Volume(
        data=np.zeros((1, 4, 8, 8), np.float32), affine=np.eye(4), mask=np.zeros((4, 8, 8), dtype=bool)
    )
    assert healthy_slabs([empty], run) is None
    assert healthy_slabs([], run) is None


def test_quantiles_are_above_zero():
    assert healthy_quantile(torch.zeros(10), 0.95) == 1e-6
    assert healthy_quantile(torch.arange(101.0), 0.95) == 95
