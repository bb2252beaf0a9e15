"""Inception-ResNet-v1 (Szegedy et al. 2016, arXiv 1602.07261) for slices and volumes.

As Wolleb et al. 2022 (MICCAI, arXiv 2110.06803) have it: 3-D, the pairs of kernels 1×7 and 7×1 are
triples of 1×1×7, 1×7×1 and 7×1×1, instance norm without gain and offset, convolutions without
offset but those that end a block. Filters at width 32: stem 32, 32, 64, pool, 80 (kernel 1), 192,
256; 5 blocks of 256; 10 of 896; 6 of 1792; mean over space.

Deviation: every convolution is padded, and an image is halved as often as leaves its shortest edge
at 3 or more (five times from 96 voxels on, as published), so that small images have something left
to normalise; where it is not halved, a layer keeps its weights and moves by one. The numbers of
parameters do not depend on either. The layers and their numbers of filters were found by counting:
the publication prints the sum only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import Reader, conv

if TYPE_CHECKING:
    from collections.abc import Sequence

Kernel = int | tuple[int, ...]

BASE = 32
"""Filters of the first layer, of which the publication's numbers are multiples."""

BLOCKS = (5, 10, 6)
"""Of 256, 896 and 1792 filters."""

HALVINGS = 5
SMALLEST = 3
"""Shortest edge that may be left."""


def halvings(size: Sequence[int]) -> int:
    """How often an image is halved: as often as its shortest edge stays at 3 or more, five times at
    most.

    Examples:
        >>> from aberra.nets.inception_resnet import halvings
        >>> halvings((32, 32)), halvings((120, 124, 172)), halvings((2, 2))
        (3, 5, 0)
    """
    count, edge = 0, min(size)
    while count < HALVINGS and edge // 2 >= SMALLEST:
        count, edge = count + 1, edge // 2
    return count


class Unit(nn.Sequential):
    """Convolution, instance norm, ReLU: (B, F, S) to (B, F', S) or (B, F', S / 2)."""

    def __init__(self, dims: int, before: int, after: int, kernel: Kernel, stride: int = 1) -> None:
        edges: Any = (kernel,) * dims if isinstance(kernel, int) else kernel
        padding: Any = tuple(edge // 2 for edge in edges)
        norm = nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d
        super().__init__(
            conv(dims)(before, after, edges, stride=stride, padding=padding, bias=False),
            norm(after),
            nn.ReLU(),
        )


class Branches(nn.Module):
    """Several ways through the same input, side by side: (B, F, S) to (B, ΣFₙ, S')."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, ΣFₙ, S')."""
        return torch.cat([way(x) for way in self.ways], dim=1)


class Block(nn.Module):
    """relu(x + scale · conv₁(branches(x))); the last block has no ReLU."""

    def __init__(
        self, dims: int, filters: int, inner: int, branches: Branches, *, scale: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.branches = branches
        self.back = conv(dims)(inner, filters, 1)
        self.scale = scale
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F, S)."""
        x = x + self.scale * self.back(self.branches(x))
        return torch.relu(x) if self.relu else x


def inception_resnet(
    *, channels: int, dims: int, size: Sequence[int], width: int = BASE, blocks: Sequence[int] = BLOCKS
) -> Reader:
    """The network up to its mean over space, (B, C, S) to (B, F), F = 1792 at width 32.

    Args:
        channels: C.
        dims: 2 or 3.
        size: S, which says how often it is halved.
        width: filters of the first layer; all others are in the publication's proportion.
        blocks: how many of each of the three kinds.

    Raises:
        ConfigError: other than three numbers.
    """
    if len(blocks) != len(BLOCKS):
        raise ConfigError(f"model.blocks={list(blocks)}: expected three numbers, as in {list(BLOCKS)}")
    count = halvings(size)
    first, second, third, fourth, fifth = (
        2 if place < count else 1 for place in range(HALVINGS)
    )  # the first ones halve, which is cheapest

    def n(filters: int) -> int:
        return max(1, filters * width // BASE)

    def unit(before: int, after: int, kernel: Kernel, stride: int = 1) -> Unit:
        return Unit(dims, before, after, kernel, stride)

    def pool(stride: int) -> nn.Module:
        return (nn.MaxPool2d if dims == 2 else nn.MaxPool3d)(3, stride=stride, padding=1)

    def near() -> Branches:
        f, g = n(256), n(32)
        return Branches(
            unit(f, g, 1),
            nn.Sequential(unit(f, g, 1), unit(g, g, 3)),
            nn.Sequential(unit(f, g, 1), unit(g, g, 3), unit(g, g, 3)),
        )

    def along(f: int, g: int, length: int) -> Branches:
        lines = (
            tuple(length if axis == long else 1 for axis in range(dims)) for long in reversed(range(dims))
        )
        return Branches(
            unit(f, g, 1), nn.Sequential(unit(f, g, 1), *(unit(g, g, kernel) for kernel in lines))
        )

    six = n(256) + n(384) + n(256)
    seven = six + n(384) + 2 * n(256)
    near_blocks = [Block(dims, n(256), 3 * n(32), near(), scale=0.17) for _ in range(blocks[0])]
    middle = [Block(dims, six, 2 * n(128), along(six, n(128), 7), scale=0.10) for _ in range(blocks[1])]
    deep = [Block(dims, seven, 2 * n(192), along(seven, n(192), 3), scale=0.20) for _ in range(blocks[2] - 1)]
    deep.append(Block(dims, seven, 2 * n(192), along(seven, n(192), 3), scale=1.0, relu=False))
    return Reader(
        unit(channels, n(32), 3, first),
        unit(n(32), n(32), 3),
        unit(n(32), n(64), 3),
        pool(second),
        unit(n(64), n(80), 1),
        unit(n(80), n(192), 3),
        unit(n(192), n(256), 3, third),
        *near_blocks,
        Branches(
            pool(fourth),
            unit(n(256), n(384), 3, fourth),
            nn.Sequential(unit(n(256), n(192), 1), unit(n(192), n(192), 3), unit(n(192), n(256), 3, fourth)),
        ),
        *middle,
        Branches(
            pool(fifth),
            nn.Sequential(unit(six, n(256), 1), unit(n(256), n(384), 3, fifth)),
            nn.Sequential(unit(six, n(256), 1), unit(n(256), n(256), 3, fifth)),
            nn.Sequential(unit(six, n(256), 1), unit(n(256), n(256), 3), unit(n(256), n(256), 3, fifth)),
        ),
        *deep,
        (nn.AdaptiveAvgPool2d if dims == 2 else nn.AdaptiveAvgPool3d)(1),
        nn.Flatten(),
        features=seven,
    )
