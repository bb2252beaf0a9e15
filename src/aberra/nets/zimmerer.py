"""Zimmerer's DCGAN-like networks: of the ceVAE (2018, arXiv 1812.05941) and of the VAE (2019, arXiv
1907.02796).

Both begin with four convolutions 4 with stride 2 and leaky ReLU, without norm; a fifth as large as
what is left makes the code, and the decoder mirrors them. The ceVAE's is as Baur et al. 2021 (arXiv
2004.03271) ran it, the VAE's as in its authors' public code.

Deviation: LeakyReLU's slope is PyTorch's 0.01; no text states one. A convolution over the whole of
a map is written as the linear layer that it is. The last convolution of the ceVAE's pads one before
and two after.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import Reader, conv

if TYPE_CHECKING:
    from collections.abc import Sequence

STAGES = 4


def inner(size: Sequence[int]) -> tuple[int, ...]:
    """Grid of the innermost feature map.

    Raises:
        ConfigError: an edge is not divisible by 16.
    """
    if any(edge % 2**STAGES for edge in size):
        raise ConfigError(f"size {tuple(size)}: every edge must be divisible by {2**STAGES}")
    return tuple(edge // 2**STAGES for edge in size)


class Coordinates(nn.Module):
    """Puts each place's coordinates, −1 to 1 along every axis, beside its channels (CoordConv; Liu
    et al. 2018, arXiv 1807.03247).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F + axes, S)."""
        along = [torch.linspace(-1, 1, edge, device=x.device, dtype=x.dtype) for edge in x.shape[2:]]
        places = torch.stack(torch.meshgrid(*along, indexing="ij"))
        return torch.cat([x, places.expand(len(x), *places.shape)], dim=1)


class Encoder(Reader):
    """(B, C, S) to (B, F·S / 16), F being the last of ``filters``."""

    def __init__(
        self,
        *,
        channels: int,
        dims: int,
        size: Sequence[int],
        filters: Sequence[int],
        bias: bool = True,
        coordinates: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *filters]):
            layers += [Coordinates()] if coordinates else []
            told = before + dims * coordinates
            layers += [conv(dims)(told, after, 4, stride=2, padding=1, bias=bias), nn.LeakyReLU()]
        super().__init__(nn.Sequential(*layers), nn.Flatten(), features=filters[-1] * prod(inner(size)))


class Decoder(nn.Module):
    """(B, K) to (B, C, S), linear.

    ``last`` is a convolution 4 that keeps the size, behind as many transposed ones as the encoder
    has convolutions; without it the last of these gives the channels.
    """

    def __init__(
        self,
        *,
        channels: int,
        dims: int,
        size: Sequence[int],
        filters: Sequence[int],
        latent: int,
        bias: bool = True,
        coordinates: bool = False,
        last: bool,
    ) -> None:
        super().__init__()
        self.grid = (filters[-1], *inner(size))
        self.dense = nn.Linear(latent, prod(self.grid), bias=bias)
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        place: list[nn.Module] = [Coordinates()] if coordinates else []
        more = dims * coordinates
        layers: list[nn.Module] = []
        for before, after in pairwise([*reversed(filters), filters[0] if last else channels]):
            layers += [nn.LeakyReLU(), *place, up(before + more, after, 4, stride=2, padding=1, bias=bias)]
        if last:
            pad = nn.ZeroPad2d((1, 2, 1, 2)) if dims == 2 else nn.ZeroPad3d((1, 2, 1, 2, 1, 2))
            layers += [nn.LeakyReLU(), *place, pad, conv(dims)(filters[0] + more, channels, 4, bias=bias)]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, C, S)."""
        out: Tensor = self.body(self.dense(z).unflatten(1, self.grid))
        return out
