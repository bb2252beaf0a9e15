from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.diffusion.noise import KINDS, draw, shared
from aberra.errors import ConfigError


def _drawn(kind, shape=(16, 1, 64, 64), seed=0):
    return draw(kind, shape, torch.Generator().manual_seed(seed))


def _neighbours(noise):
    """Correlation of neighbours along each spatial axis, the lowest."""
    found = []
    for axis in range(2, noise.ndim):
        length = noise.shape[axis] - 1
        pair = torch.stack([noise.narrow(axis, 0, length).flatten(), noise.narrow(axis, 1, length).flatten()])
        found.append(float(torch.corrcoef(pair)[0, 1]))
    return min(found)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_is_about_zero_and_root_mean_square_one(kind):
    noise = _drawn(kind, (200, 1, 64, 64))
    # of an image; a smooth kind has few independent places, so that its images have means of
    # their own
    assert abs(float(noise.mean())) < 4 * float(noise.mean(dim=(1, 2, 3)).std()) / 200**0.5 + 1e-3
    rms = noise.square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.ones(200), atol=0.06 if kind == "gaussian" else 1e-5, rtol=0.0)


@pytest.mark.parametrize(("kind", "least"), [("coarse", 0.6), ("pyramid", 0.4), ("simplex", 0.4)])
def test_coloured_kinds_are_smoother_than_white(kind, least):
    assert abs(_neighbours(_drawn("gaussian"))) < 0.02
    assert _neighbours(_drawn(kind)) > least


@pytest.mark.parametrize("kind", ["pyramid", "simplex"])
def test_power_falls_with_frequency(kind):
    """Each of three octaves has less power a frequency than the one below; white noise has as much."""
    ring = (torch.fft.fftfreq(64)[:, None] ** 2 + torch.fft.fftfreq(64)[None] ** 2).sqrt()

    def power(name):
        spectrum = torch.fft.fft2(_drawn(name)[:, 0]).abs().square().mean(dim=0)
        edges = (1 / 32, 1 / 16, 1 / 8, 1 / 4)
        return [float(spectrum[(ring >= low) & (ring < high)].mean()) for low, high in pairwise(edges)]

    low, middle, high = power(kind)
    assert low > 1.5 * middle > 2 * high
    assert max(power("gaussian")) < 1.2 * min(power("gaussian"))


@pytest.mark.parametrize("kind", ["gaussian", "coarse", "pyramid"])
def test_noise_is_drawn_in_three_dimensions(kind):
    noise = _drawn(kind, (4, 2, 16, 32, 24))
    assert noise.shape == (4, 2, 16, 32, 24)
    assert (_neighbours(noise) > 0.2) == (kind != "gaussian")


@pytest.mark.parametrize("kind", KINDS)
def test_images_channels_and_seeds_are_independent_and_a_seed_is_one_noise(kind):
    noise = _drawn(kind, (2, 2, 64, 64))
    assert torch.equal(noise, _drawn(kind, (2, 2, 64, 64)))
    rows = torch.stack([*noise.flatten(0, 1), *_drawn(kind, (2, 2, 64, 64), seed=1).flatten(0, 1)]).flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(8)
    assert float(correlation.abs().max()) < (0.1 if kind == "gaussian" else 0.75)
    assert float(correlation.abs().mean()) < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_shared_noise_does_not_depend_on_the_batch(kind):
    one, five = torch.zeros(1, 2, 32, 48), torch.zeros(5, 2, 32, 48)
    first = shared(kind, 3, one)
    assert first.shape == (1, 2, 32, 48)
    assert torch.equal(first, shared(kind, 3, five))
    assert not torch.equal(first, shared(kind, 4, one))
    assert shared(kind, 3, one.double()).dtype == torch.float64


def test_unknown_kinds_and_simplex_in_3d_are_refused():
    with pytest.raises(ConfigError, match="pyramid"):
        _drawn("pyramd")
    with pytest.raises(ConfigError, match="2-D"):
        _drawn("simplex", (1, 1, 8, 8, 8))
