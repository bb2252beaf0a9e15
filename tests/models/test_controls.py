from __future__ import annotations

import numpy as np
import torch

from aberra.detector.postprocess import CaseScore
from aberra.models.intensity import Intensity
from aberra.models.random import Random


def _ball(radius, edge=20):
    steps = torch.arange(edge) - edge / 2
    return (steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2).sqrt() < radius


def _noise(mask, **options):
    return Random(**options).score_volume(torch.rand((1, *mask.shape)), mask)


def test_noise_is_blind_to_intensities_and_each_foreground_has_its_own():
    mask, larger = _ball(8), _ball(8.5)
    first = _noise(mask)
    assert torch.equal(first, _noise(mask))  # of other intensities
    assert torch.equal(first, _noise(mask.float()))
    assert not first[~mask].any()
    for other in (_noise(larger)[mask], _noise(mask, seed=1)[mask]):
        assert abs(float(torch.corrcoef(torch.stack([first[mask], other]))[0, 1])) < 0.1  # 4.6 σ


def test_the_case_score_does_not_follow_the_outline():
    """Balls in each other: were the noise shared, each score would follow from the one before."""
    masks = [_ball(radius) for radius in np.linspace(6, 9.5, 60)]
    masks = [mask for mask, before in zip(masks[1:], masks, strict=False) if not torch.equal(mask, before)]
    shared = torch.rand((20, 20, 20), generator=torch.Generator().manual_seed(0))
    reduce = CaseScore()

    def memory(maps):
        scores = [reduce(each.numpy(), mask.numpy()) for each, mask in zip(maps, masks, strict=True)]
        return np.corrcoef(scores[1:], scores[:-1])[0, 1]

    assert len(masks) > 25
    assert abs(memory([_noise(mask) for mask in masks])) < 0.5  # 2.5 σ
    assert memory([shared * mask for mask in masks]) > 0.7  # what it would be


def test_polarities_of_the_intensity():
    mask = _ball(8)
    x = torch.rand((2, *mask.shape), generator=torch.Generator().manual_seed(0))
    bright, dark, both = (
        Intensity(polarity=name).score_volume(x, mask) for name in ("bright", "dark", "both")
    )
    torch.testing.assert_close(bright, x.mean(dim=0) * mask)
    torch.testing.assert_close(bright + dark, mask.float())
    middle = torch.stack([channel[mask].median() for channel in x]).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(both, (x - middle).abs().mean(dim=0) * mask)
    assert not Intensity(polarity="both").score_volume(x, torch.zeros_like(mask)).any()
