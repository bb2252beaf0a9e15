from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from aberra.nets.low_pass import LowPass


def _share(edge, sigma):
    """What a Gaussian leaves of the cosines 0 … N − 1."""
    return torch.exp(-0.5 * (sigma * pi * torch.arange(edge) / edge) ** 2)


@pytest.mark.parametrize(("number", "axis"), [(1, -1), (5, -1), (15, -2), (0, -2)])
def test_a_cosine_keeps_its_share_and_nothing_else_changes(number, axis):
    edge = (24, 16)[axis]
    wave = torch.cos(pi * number * (torch.arange(edge) + 0.5) / edge)
    x = (wave[:, None] if axis == -2 else wave).expand(2, 3, 24, 16)
    found = LowPass((24, 16), 1.7)(x)
    torch.testing.assert_close(found, x * _share(edge, 1.7)[number], rtol=1e-5, atol=1e-5)


def test_no_energy_is_left_above_the_cut():
    """By another transform: the Fourier spectrum of the image and its mirror image."""
    edge, sigma = 64, 3.0
    x = torch.randn(1, 1, edge, edge, generator=torch.Generator().manual_seed(0))

    def spectrum(image):
        mirrored = torch.cat([image, image.flip(-1)], dim=-1).double()
        return torch.fft.rfft(mirrored, dim=-1)[..., :edge].abs().square().sum(dim=(0, 1, 2))

    blurred = LowPass((edge, edge), sigma)(x)
    along_rows = LowPass((edge, edge), sigma).axis_0 @ x
    kept = spectrum(blurred) / spectrum(along_rows)
    torch.testing.assert_close(kept, _share(edge, sigma).double() ** 2, rtol=1e-3, atol=1e-9)
    cut = int(edge * 4 / (sigma * pi)) + 1  # where e^-8 is left
    assert spectrum(blurred)[cut:].sum() < 1e-6 * spectrum(x)[cut:].sum()


def test_it_is_the_gaussian_of_scipy():
    x = np.random.default_rng(0).random((12, 20, 16)).astype(np.float32)
    expected = gaussian_filter(x.astype(float), 1.5, mode="reflect", truncate=8)
    found = LowPass(x.shape, 1.5)(torch.from_numpy(x)[None, None])[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_mean_stays_and_is_all_that_a_wide_one_leaves():
    x = torch.rand(2, 1, 16, 12)
    mean = x.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(LowPass((16, 12), 2.0)(x).mean(dim=(2, 3), keepdim=True), mean)
    torch.testing.assert_close(LowPass((16, 12), 1000.0)(x), mean.expand_as(x))
    assert LowPass((16, 12), 0.0)(x) is x


def test_nothing_of_it_is_saved():
    assert not LowPass((16, 12), 2.0).state_dict()
