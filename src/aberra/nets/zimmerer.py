"""Zimmerer's DCGAN-like network of VAE and ceVAE (2018, 2019), as Baur et al. 2021 (arXiv 2004.03271) ran it.

Four convolutions 4 with stride 2 and 16, 64, 256, 1024 filters, leaky ReLU, no normalisation; mirrored decoder.

Deviation: LeakyReLU's slope is PyTorch's 0.01; neither text states one. The last convolution pads one before and two after.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import conv

if TYPE_CHECKING:
    from collections.abc import Sequence

STAGES = 4


def widths(width: int) -> list[int]:
    """Filters of the four stages: 16, 64, 256, 1024."""
    return [width * 4**stage for stage in range(STAGES)]


def inner(size: Sequence[int]) -> tuple[int, ...]:
    """Grid of the innermost feature map.

    Raises:
        ConfigError: an edge is not divisible by 16.
    """
    if any(edge % 2**STAGES for edge in size):
        raise ConfigError(f"size {tuple(size)}: every edge must be divisible by {2**STAGES}")
    return tuple(edge // 2**STAGES for edge in size)


class Encoder(nn.Sequential):
    """(B, C, S) to (B, 64·width, S / 16)."""

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int) -> None:
        layers: list[nn.Module] = []
        for before, after in zip([channels, *widths(width)], widths(width), strict=False):
            layers += [conv(dims)(before, after, 4, stride=2, padding=1), nn.LeakyReLU()]
        super().__init__(*layers)
        self.features = widths(width)[-1] * prod(inner(size))


class Decoder(nn.Module):
    """(B, K) to (B, C, S), linear."""

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int, latent: int) -> None:
        super().__init__()
        filters = widths(width)[::-1]
        self.grid = (filters[0], *inner(size))
        self.dense = nn.Linear(latent, prod(self.grid))
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        pad = nn.ZeroPad2d((1, 2, 1, 2)) if dims == 2 else nn.ZeroPad3d((1, 2, 1, 2, 1, 2))
        layers: list[nn.Module] = [nn.LeakyReLU()]
        for before, after in zip(filters, [*filters[1:], filters[-1]], strict=True):
            layers += [up(before, after, 4, stride=2, padding=1), nn.LeakyReLU()]
        layers += [pad, conv(dims)(filters[-1], channels, 4)]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, C, S)."""
        out: Tensor = self.body(self.dense(z).unflatten(1, self.grid))
        return out
