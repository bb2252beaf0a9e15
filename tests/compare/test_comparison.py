from __future__ import annotations

import pytest
import torch

from aberra.capabilities import HasFeatures
from aberra.compare.comparison import Comparison
from aberra.compare.perceptual import perceptual_distance
from aberra.errors import ConfigError
from aberra.nets.ssim import ssim_map
from known_denoiser import KnownDenoiser


@pytest.fixture
def pair():
    """Two channels of three slices, a damped version of them, and evidence."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 2, 32, 32, generator=generator)
    return x, 0.7 * x + 0.1, torch.rand(3, 1, 32, 32, generator=generator)


def _compared(pair, **options):
    return Comparison(**options)(KnownDenoiser(torch.zeros(1)), *pair)


def test_signs_of_the_difference_are_averaged_over_channels(pair):
    x, y, _ = pair
    difference = x - y
    for mode, expected in (
        ("absolute", difference.abs()),
        ("positive", difference.clamp(min=0)),
        ("negative", (-difference).clamp(min=0)),
    ):
        torch.testing.assert_close(_compared(pair, mode=mode), expected.mean(dim=1, keepdim=True))


def test_structural_modes_mix_ssim_and_the_absolute_error(pair):
    x, y, evidence = pair
    absolute, ssim = _compared(pair), _compared(pair, mode="ssim")
    torch.testing.assert_close(ssim, ((1 - ssim_map(x, y)) / 2).mean(dim=1, keepdim=True))
    for alpha in (0.0, 0.3, 1.0):
        mixed = _compared(pair, mode="structural", alpha=alpha)
        torch.testing.assert_close(mixed, alpha * ssim + (1 - alpha) * absolute)
    assert _compared((x, x, evidence), mode="ssim").max() < 1e-5
    assert not torch.allclose(_compared(pair, mode="ssim", data_range=5.0), ssim)


def test_the_perceptual_mode_is_the_absolute_difference_times_the_distance(pair):
    x, y, evidence = (each[:, :1] for each in pair)
    model = KnownDenoiser(torch.zeros(1))
    expected = (x - y).abs() * perceptual_distance(model, x, y)
    torch.testing.assert_close(Comparison(mode="perceptual")(model, x, y, evidence), expected)
    assert Comparison(mode="perceptual").needs == (HasFeatures,)
    assert Comparison().needs == ()


def test_evidence_is_the_map_or_its_weight(pair):
    _, _, evidence = pair
    assert torch.equal(_compared(pair, mode="evidence"), evidence)
    torch.testing.assert_close(_compared(pair, weighted=True), _compared(pair) * evidence)
    asks = [Comparison(**options).asks_evidence for options in ({}, {"mode": "evidence"}, {"weighted": True})]
    assert asks == [False, True, True]


@pytest.mark.parametrize("mode", Comparison.MODES)
def test_every_mode_is_non_negative_and_of_one_channel(mode, pair):
    pair = tuple(each[:, :1] for each in pair)
    found = _compared(pair, mode=mode)
    assert found.shape == (3, 1, 32, 32)
    assert (found >= 0).all()
    assert found.max() > 0


def test_the_level_is_the_median_difference_inside_the_mask():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:7, 2:7] = True
    shift = torch.tensor([0.3, -0.2])
    restored = x - shift.reshape(2, 1, 1, 1)
    restored[:, ~mask] = 100
    torch.testing.assert_close(Comparison(centre=True).level(x, restored, mask), shift)
    assert not Comparison().level(x, restored, mask).any()
    assert not Comparison(centre=True).level(x, restored, torch.zeros_like(mask)).any()


def test_half_precision_does_not_eat_the_difference():
    x = torch.full((1, 1, 4, 4), 1000.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = Comparison(mode="ssim", data_range=100.0)(None, x, x + 1, x)
    torch.testing.assert_close(found, ((1 - ssim_map(x, x + 1, data_range=100.0)) / 2))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"alpha": 1.5, "mode": "structural"}, "alpha"),
        ({"alpha": 0.5}, "only with structural"),
        ({"alpha": 0.5, "mode": "ssim"}, "only with structural"),
        ({"data_range": 0.0, "mode": "ssim"}, "data_range"),
        ({"data_range": 2.0}, "only with ssim, structural"),
        ({"centre": True, "mode": "evidence"}, "centre"),
        ({"weighted": True, "mode": "evidence"}, "weighted"),
        ({"mode": "postive"}, "Did you mean 'positive'"),
        ({"moed": "ssim"}, "Did you mean 'mode'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Comparison(**options)
