"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2017, arXiv 1608.06993), with bottlenecks and
compression ("DenseNet-BC").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.unified import conv, normaliser

if TYPE_CHECKING:
    from collections.abc import Sequence

BOTTLENECK = 4
"""Filters of a layer's first convolution, in multiples of the growth rate."""


class Dense(nn.Module):
    """Puts k new features behind the old ones: (B, F, S) to (B, F + k, S)."""

    def __init__(self, dims: int, features: int, growth: int) -> None:
        super().__init__()
        inner = BOTTLENECK * growth
        self.layers = nn.Sequential(
            normaliser("batch", dims, features),
            nn.ReLU(),
            conv(dims)(features, inner, 1, bias=False),
            normaliser("batch", dims, inner),
            nn.ReLU(),
            conv(dims)(inner, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Append."""
        return torch.cat([x, self.layers(x)], dim=1)


class DenseNet(nn.Sequential):
    """All layers before the global mean: (B, C, S) to maps (B, ``features``, S').

    A convolution of 7 px and a max pooling, which halve the grid, then dense blocks; between two
    of them half as many features and half the grid.

    Args:
        channels: C.
        dims: 2 or 3.
        blocks: layers of each dense block; DenseNet-169 has 6, 12, 32 and 32.
        growth: k; DenseNet-169 has 32.
        width: filters of the first convolution; DenseNet-169 has 64.
    """

    def __init__(self, *, channels: int, dims: int, blocks: Sequence[int], growth: int, width: int) -> None:
        pool = nn.MaxPool2d if dims == 2 else nn.MaxPool3d
        mean = nn.AvgPool2d if dims == 2 else nn.AvgPool3d
        layers: list[nn.Module] = [
            conv(dims)(channels, width, 7, 2, padding=3, bias=False),
            normaliser("batch", dims, width),
            nn.ReLU(),
            pool(3, 2, padding=1),
        ]
        features = width
        for number, count in enumerate(blocks):
            if number:
                layers += [
                    normaliser("batch", dims, features),
                    nn.ReLU(),
                    conv(dims)(features, features // 2, 1, bias=False),
                    mean(2, ceil_mode=True),
                ]
                features //= 2
            for _ in range(count):
                layers.append(Dense(dims, features, growth))
                features += growth
        super().__init__(*layers, normaliser("batch", dims, features), nn.ReLU())
        self.features = features
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight)


def pooled(maps: Tensor) -> Tensor:
    """Global mean: (B, F, S) to (B, F)."""
    return maps.flatten(2).mean(dim=2)


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation: (B, F, S') to (B, F, S)."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(maps, size=tuple(size), mode=mode, align_corners=False)
