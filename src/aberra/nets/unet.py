"""U-Nets for 2-D and 3-D (Ronneberger et al. 2015): with skips that are concatenated, or added."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import conv

if TYPE_CHECKING:
    from collections.abc import Sequence


class Block(nn.Sequential):
    """Twice convolution 3, group norm, SiLU: (B, C, S) to (B, F, S)."""

    def __init__(self, *, dims: int, channels: int, filters: int) -> None:
        groups = next(count for count in range(min(8, filters), 0, -1) if filters % count == 0)
        super().__init__(
            conv(dims)(channels, filters, 3, padding=1, bias=False),
            nn.GroupNorm(groups, filters),
            nn.SiLU(),
            conv(dims)(filters, filters, 3, padding=1, bias=False),
            nn.GroupNorm(groups, filters),
            nn.SiLU(),
        )


class UNet(nn.Module):
    """Average pooling down, nearest-neighbour up, skips by concatenation: (B, C, S) to (B, F, S).

    Args:
        channels: C.
        dims: 2 or 3.
        size: S; every edge divisible by 2 ** depth.
        width: filters of the first level; doubled at each level below.
        depth: how often the grid is halved.
        out: F; None is C.

    Raises:
        ConfigError: an edge is not divisible.
    """

    def __init__(
        self,
        *,
        channels: int,
        dims: int,
        size: Sequence[int],
        width: int,
        depth: int,
        out: int | None = None,
    ) -> None:
        super().__init__()
        _expect_divisible(size, depth)
        self.stride = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.dims = dims
        self.down = nn.ModuleList(
            Block(dims=dims, channels=before, filters=after)
            for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            Block(dims=dims, channels=widths[level + 1] + widths[level], filters=widths[level])
            for level in range(depth)
        )
        self.head = conv(dims)(width, channels if out is None else out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, F, S)."""
        answer: Tensor = self.head(self.features(x)[0])
        return answer

    def features(self, x: Tensor) -> list[Tensor]:
        """What the decoder's levels say, finest first: (B, F, S / 2ᵏ) each."""
        pool = F.avg_pool2d if self.dims == 2 else F.avg_pool3d
        skips = []
        for level, block in enumerate(self.down):
            x = block(pool(x, 2) if level else x)
            skips.append(x)
        levels = []
        for level in reversed(range(len(self.up))):
            x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips[level]], dim=1)
            x = self.up[level](x)
            levels.append(x)
        return levels[::-1]


class AdditiveUNet(nn.Module):
    """Strided convolution down, nearest-neighbour up, skips by addition: (B, C, S) to (B, F, S).

    Half of the concatenating U-Net's work at full resolution, and twice as fast in training on a
    CPU by its memory format: whole brains in 3-D.

    Args:
        channels: C.
        dims: 2 or 3.
        size: S; every edge divisible by 2 to the number of levels below the first.
        widths: filters of each level, finest first; each further level halves the grid.
        out: F.

    Raises:
        ConfigError: fewer than two levels, or an edge is not divisible.
    """

    def __init__(
        self, *, channels: int, dims: int, size: Sequence[int], widths: Sequence[int], out: int
    ) -> None:
        super().__init__()
        halvings = len(widths) - 1
        if halvings < 1:
            raise ConfigError(f"widths={list(widths)}; expected filters of two levels or more")
        _expect_divisible(size, halvings)
        self.stride = 2**halvings
        self.format = torch.channels_last if dims == 2 else torch.channels_last_3d
        self.stem = _layer(dims, channels, widths[0])
        self.down = nn.ModuleList(_layer(dims, *pair, stride=2) for pair in pairwise(widths))
        self.deep = nn.ModuleList(_layer(dims, width, width) for width in widths[1:])
        self.narrow = nn.ModuleList(conv(dims)(wide, thin, 1) for thin, wide in pairwise(widths))
        self.up = nn.ModuleList(_layer(dims, width, width) for width in widths[:-1])
        self.head = conv(dims)(widths[0], out, 1)
        self.to(memory_format=self.format)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, F, S)."""
        answer: Tensor = self.head(self.features(x)[0])
        return answer

    def features(self, x: Tensor) -> list[Tensor]:
        """What the decoder's levels say, finest first: (B, F, S / 2ᵏ) each."""
        x = self.stem(x.contiguous(memory_format=self.format))
        skips = [x]
        for down, deep in zip(self.down, self.deep, strict=True):
            x = down(x)
            x = x + deep(x)
            skips.append(x)
        skips.pop()
        levels = []
        for narrow, up, skip in reversed(list(zip(self.narrow, self.up, skips, strict=True))):
            x = F.interpolate(narrow(x), size=skip.shape[2:], mode="nearest") + skip
            x = up(x)
            levels.append(x)
        return levels[::-1]


def _expect_divisible(size: Sequence[int], halvings: int) -> None:
    """Refuse a grid that cannot be halved so often.

    Raises:
        ConfigError: names size and divisor.
    """
    if any(edge % 2**halvings for edge in size):
        raise ConfigError(
            f"size {tuple(size)} with {halvings + 1} levels: every edge must be divisible by {2**halvings}"
        )


def _layer(dims: int, before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution 3, group norm, leaky ReLU."""
    return nn.Sequential(
        conv(dims)(before, after, 3, padding=1, stride=stride, bias=False),
        nn.GroupNorm(max(1, min(8, after // 2)), after),
        nn.LeakyReLU(0.05, inplace=True),
    )
