"""A U-Net with skips for 2-D and 3-D (Ronneberger et al. 2015), as the denoising autoencoder uses
it.
"""

from __future__ import annotations

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
    """Average pooling down, nearest-neighbour up, skips by concatenation: (B, C, S) to (B, C, S).

    Args:
        channels: C.
        dims: 2 or 3.
        size: S; every edge divisible by 2 ** depth.
        width: filters of the first level; doubled at each level below.
        depth: how often the grid is halved.

    Raises:
        ConfigError: an edge is not divisible.
    """

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int, depth: int) -> None:
        super().__init__()
        if any(edge % 2**depth for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with depth {depth}: every edge must be divisible by {2**depth}"
            )
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
        self.head = conv(dims)(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        pool = F.avg_pool2d if self.dims == 2 else F.avg_pool3d
        skips = []
        for level, block in enumerate(self.down):
            x = block(pool(x, 2) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips[level]], dim=1)
            x = self.up[level](x)
        out: Tensor = self.head(x)
        return out
