"""Venkatakrishnan's network of strided convolutions with a spatial code (M.Sc. thesis, TU München
2020).

Convolutions 4 with stride 2, batch norm and LeakyReLU 0.1, six of them at 128²: 16, 32, 64, 128,
256 and 512 channels, the last without norm and activation, since it makes the code. Transposed
convolutions mirror them: 256, 128, 64, 32, 16 and the image's channels.

Deviation: the thesis names six blocks, kernel, stride and 512; the channels in between, the plain
last convolution and the sigmoid are our reading. At other sizes there are as many blocks as leave
an edge of 2, counted from the code.
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

SLOPE = 0.1
INNER = 2
"""Least edge of the code."""
DEEPEST = 32
"""Channels of the code over those of the first of six blocks."""


def widths(width: int, size: Sequence[int]) -> list[int]:
    """Channels of the blocks: 16, 32, 64, 128, 256, 512 at 128², the last four of them at 32².

    Raises:
        ConfigError: an edge is below 4, or not divisible so often.
    """
    count = int(log2(max(min(size), 1) / INNER)) if min(size) >= INNER else 0
    if count < 1 or any(edge % 2**count for edge in size):
        raise ConfigError(
            f"size {tuple(size)}: every edge must be 4 or more and divisible by {2 ** max(count, 1)}"
        )
    return [max(1, DEEPEST * width // 2**before) for before in reversed(range(count))]


def inner_size(size: Sequence[int]) -> tuple[int, ...]:
    """Grid of the code, 2×2 where the image is square."""
    return tuple(edge // 2 ** len(widths(1, size)) for edge in size)


class Encoder(Reader):
    """(B, C, S) to (B, 32·width, S'); ``norm`` is ``batch``, or ``layer`` for critics."""

    def __init__(
        self, *, channels: int, dims: int, size: Sequence[int], width: int, norm: str = "batch"
    ) -> None:
        filters = [channels, *widths(width, size)]
        layers: list[nn.Module] = []
        for before, after in pairwise(filters):
            layers += [
                conv(dims)(before, after, 4, stride=2, padding=1),
                normaliser(norm, dims, after),
                nn.LeakyReLU(SLOPE),
            ]
        super().__init__(*layers[:-2], features=filters[-1])


class Decoder(nn.Sequential):
    """(B, K, S') to (B, C, S), in (0, 1) where ``bounded``."""

    def __init__(
        self,
        *,
        channels: int,
        dims: int,
        size: Sequence[int],
        width: int,
        latent: int,
        bounded: bool,
        norm: str = "batch",
    ) -> None:
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        filters = [latent, *reversed(widths(width, size)[:-1]), channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(filters):
            layers += [
                up(before, after, 4, stride=2, padding=1),
                normaliser(norm, dims, after),
                nn.LeakyReLU(SLOPE),
            ]
        super().__init__(*layers[:-2], nn.Sigmoid() if bounded else nn.Identity())


class Half(nn.Module):
    """One of two halves of the channels: (B, 2K, S') to (B, K, S')."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        """The first or the second half."""
        return x.chunk(2, dim=1)[self.number]


def critic(*, channels: int, dims: int, size: Sequence[int], width: int) -> Reader:
    """The encoder with layer norm, flattened: (B, C, S) to (B, F·S')."""
    body = Encoder(channels=channels, dims=dims, size=size, width=width, norm="layer")
    return Reader(body, nn.Flatten(), features=body.features * prod(inner_size(size)))
