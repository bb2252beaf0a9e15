from __future__ import annotations

import torch

from aberra.compare.perceptual import perceptual_distance
from known_denoiser import SIZE, KnownDenoiser


def test_the_perceptual_distance_is_zero_between_equals_and_local():
    model = KnownDenoiser(torch.zeros(1))
    x = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert perceptual_distance(model, x, x).abs().max() == 0
    y = x.clone()
    y[1, 0, 8, 8] = 1 - y[1, 0, 8, 8]
    found = perceptual_distance(model, x, y)
    assert found.shape == (2, 1, SIZE, SIZE)
    assert not found[0].any()
    assert found[1].flatten().argmax() == 8 * SIZE + 8
    assert not found[1, 0, :4].any()
    torch.testing.assert_close(found, perceptual_distance(model, y, x))
    opposite = perceptual_distance(_Signed(), torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(opposite, torch.full((1, 1, 4, 4), 4.0))


class _Signed:
    def feature_maps(self, x):
        return [x, x[..., ::2, ::2]]
