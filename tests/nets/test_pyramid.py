from __future__ import annotations

import pytest
import torch

from aberra.nets.pyramid import bands, collapse, expand, gaussian_pyramid, reduce

SIZES = [(32, 48), (16, 32, 16)]


@pytest.mark.parametrize("size", SIZES)
def test_the_pyramid_is_inverted_exactly(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    images = gaussian_pyramid(x, 3)
    assert [tuple(image.shape[2:]) for image in images] == [
        tuple(edge // 2**level for edge in size) for level in range(4)
    ]
    for image, restored in zip(images, collapse(bands(images)), strict=True):
        torch.testing.assert_close(restored, image, atol=1e-14, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_a_constant_has_no_bands(size):
    x = torch.full((1, 1, *size), 3.0)
    parts = bands(gaussian_pyramid(x, 2))
    for band in parts[:-1]:
        torch.testing.assert_close(band, torch.zeros_like(band), atol=1e-6, rtol=0)
    torch.testing.assert_close(parts[-1], torch.full_like(parts[-1], 3.0))


def test_levels_lie_on_each_other():
    """A ramp stays a ramp of twice the step, on the same pixels: nothing is shifted by half a
    pixel.
    """
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    torch.testing.assert_close(reduce(ramp)[0, 0, 8, 2:-2], ramp[0, 0, 8, 4:-4:2])
    torch.testing.assert_close(expand(reduce(ramp))[0, 0, 8, 6:-8], ramp[0, 0, 8, 6:-8])


def test_reducing_is_the_five_tap_gaussian_of_every_other_pixel():
    spike = torch.zeros(1, 2, 16, 16)
    spike[0, 1, 8, 8] = 1
    found = reduce(spike)
    outer = torch.tensor([1.0, 6.0, 1.0]) / 16
    torch.testing.assert_close(found[0, 1, 3:6, 3:6], outer[:, None] * outer)
    assert not found[0, 0].any()
