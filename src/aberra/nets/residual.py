"""The residual network of Chen's constrained AAE (2018) and Schlegl's f-AnoGAN (2019).

As Baur et al. 2021 (arXiv 2004.03271) ran it: blocks of two convolutions 3 with layer norm and ReLU
before each, convolution 1 as shortcut, average pooling down and nearest neighbour up; 64 filters
rising to 512 over three stages, 128 to 16 pixels.

Deviation: sizes other than 128² have one stage fewer than the unified network
(:func:`aberra.nets.unified.stages`).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.nets.unified import conv, normaliser, stages

if TYPE_CHECKING:
    from collections.abc import Sequence


class Block(nn.Module):
    """(B, F, S) to (B, F', S / 2), or to (B, F', 2 S) with ``up``."""

    def __init__(self, *, dims: int, before: int, after: int, up: bool = False) -> None:
        super().__init__()
        pool = nn.AvgPool2d if dims == 2 else nn.AvgPool3d
        scale = nn.Upsample(scale_factor=2.0) if up else pool(2)
        first = [normaliser("layer", dims, before), nn.ReLU()]
        second = [normaliser("layer", dims, after), nn.ReLU()]
        wide, narrow = conv(dims)(before, after, 3, padding=1), conv(dims)(after, after, 3, padding=1)
        shortcut = conv(dims)(before, after, 1)
        if up:
            self.body = nn.Sequential(*first, scale, wide, *second, narrow)
            self.shortcut = nn.Sequential(scale, shortcut)
        else:
            self.body = nn.Sequential(*first, wide, *second, narrow, scale)
            self.shortcut = nn.Sequential(scale, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F', S')."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class Encoder(nn.Sequential):
    """(B, C, S) to (B, F, S / 8)."""

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int) -> None:
        count = max(1, stages(size) - 1)
        blocks = [
            Block(dims=dims, before=width * 2**stage, after=width * 2 ** (stage + 1))
            for stage in range(count)
        ]
        super().__init__(conv(dims)(channels, width, 3, padding=1), *blocks)
        self.grid = (width * 2**count, *(edge // 2**count for edge in size))
        self.features = prod(self.grid)


class Decoder(nn.Module):
    """(B, K) to (B, C, S), linear."""

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int, latent: int) -> None:
        super().__init__()
        count = max(1, stages(size) - 1)
        self.grid = (width * 2**count, *(edge // 2**count for edge in size))
        self.dense = nn.Linear(latent, prod(self.grid))
        blocks = [
            Block(dims=dims, before=width * 2 ** (stage + 1), after=width * 2**stage, up=True)
            for stage in reversed(range(count))
        ]
        self.body = nn.Sequential(
            *blocks,
            normaliser("layer", dims, width),
            nn.ReLU(),
            conv(dims)(width, channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, C, S)."""
        out: Tensor = self.body(self.dense(z).unflatten(1, self.grid))
        return out
