"""The encoder of CRADL (Lüth et al. 2023, arXiv 2301.02126), and a decoder that mirrors it.

Convolutions 4 with stride 2 and twice the filters each, batch norm and ReLU between two, until the
shortest edge has 4 to 7 voxels: five at 128², 64 to 1024 filters. One more convolution as large as
what is left makes the code; it is written as the linear layer that it is.

Deviation: at sizes other than powers of two, which the publication does not have.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2, prod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import Reader, conv, normaliser

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST = 4
"""Shortest edge of the innermost feature map."""


def stages(size: Sequence[int]) -> int:
    """How often the grid is halved: 5 at 128².

    Raises:
        ConfigError: an edge is not divisible that often.
    """
    count = max(1, int(log2(min(size) / SMALLEST))) if min(size) >= SMALLEST else 1
    if any(edge % 2**count for edge in size):
        raise ConfigError(f"size {tuple(size)}: every edge must be divisible by {2**count}")
    return count


def _filters(width: int, size: Sequence[int]) -> list[int]:
    return [width * 2**stage for stage in range(stages(size))]


def _grid(width: int, size: Sequence[int]) -> tuple[int, ...]:
    """Shape of the innermost feature map."""
    return (_filters(width, size)[-1], *(edge // 2 ** stages(size) for edge in size))


class Encoder(Reader):
    """(B, C, S) to (B, F·S / 2ⁿ); ``norm`` is ``batch`` or ``layer``."""

    def __init__(
        self, *, channels: int, dims: int, size: Sequence[int], width: int, norm: str = "batch"
    ) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *_filters(width, size)]):
            layers += [
                conv(dims)(before, after, 4, stride=2, padding=1),
                normaliser(norm, dims, after),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Flatten(), features=prod(_grid(width, size)))


class Decoder(nn.Module):
    """(B, K) to (B, C, S), linear; ``norm`` is ``batch`` or ``layer``."""

    def __init__(
        self, *, channels: int, dims: int, size: Sequence[int], width: int, latent: int, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.grid = _grid(width, size)
        self.dense = nn.Linear(latent, prod(self.grid))
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        layers: list[nn.Module] = []
        for before, after in pairwise([*reversed(_filters(width, size)), channels]):
            layers += [
                normaliser(norm, dims, before),
                nn.ReLU(),
                up(before, after, 4, stride=2, padding=1),
            ]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, C, S)."""
        out: Tensor = self.body(self.dense(z).unflatten(1, self.grid))
        return out
