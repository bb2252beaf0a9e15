"""StarGAN's generator and critic (Choi et al. 2018, Tables 4 and 5), which Fixed-Point GAN shares."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEPEST = 6
"""Halvings of the critic at 64 px or more."""

SLOPE = 0.01
"""Of the critic's leaky ReLU."""


class Generator(nn.Module):
    """Two halvings, residual blocks, two doublings, instance norm: (B, C, S) and a class to (B, C,
    S).

    Args:
        channels: C.
        size: S; every edge divisible by 4.
        classes: how many.
        width: filters at full resolution.
        blocks: residual blocks.

    Raises:
        ConfigError: an edge that cannot be halved twice.
    """

    def __init__(
        self, *, channels: int, size: Sequence[int], classes: int = 2, width: int = 64, blocks: int = 6
    ) -> None:
        super().__init__()
        if any(edge % 4 or edge < 8 for edge in size):
            raise ConfigError(f"size {tuple(size)}: every edge must be divisible by 4, and 8 or more")
        self.classes = classes

        def layer(kind: type[nn.Conv2d | nn.ConvTranspose2d], *shape: int) -> list[nn.Module]:
            before, after, kernel, stride = shape
            convolution = kind(before, after, kernel, stride, padding=(kernel - 1) // 2, bias=False)
            return [convolution, nn.InstanceNorm2d(after, affine=True), nn.ReLU()]

        self.layers = nn.Sequential(
            *layer(nn.Conv2d, channels + classes, width, 7, 1),
            *layer(nn.Conv2d, width, 2 * width, 4, 2),
            *layer(nn.Conv2d, 2 * width, 4 * width, 4, 2),
            *(Residual(4 * width) for _ in range(blocks)),
            *layer(nn.ConvTranspose2d, 4 * width, 2 * width, 4, 2),
            *layer(nn.ConvTranspose2d, 2 * width, width, 4, 2),
            nn.Conv2d(width, channels, 7, padding=3, bias=False),
        )

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Images (B, C, S) and the class to translate each to, (B,)."""
        told = F.one_hot(target, self.classes).to(x)[..., None, None].expand(-1, -1, *x.shape[2:])
        made: Tensor = self.layers(torch.cat([x, told], dim=1))
        return made


class Residual(nn.Module):
    """``x + f(x)``, f twice convolution 3 and instance norm: (B, F, S) to (B, F, S)."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def layer() -> list[nn.Module]:
            return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.InstanceNorm2d(width, affine=True)]

        self.layers = nn.Sequential(*layer(), nn.ReLU(), *layer())

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        out: Tensor = x + self.layers(x)
        return out


class Critic(nn.Module):
    """Halvings by convolutions of 4 px, then two heads: how real each patch is, and which class.

    Args:
        channels: C.
        size: S; every edge divisible by 2 ** levels.
        classes: how many.
        width: filters of the first layer, twice as many in each further one.
        levels: halvings; None is 6, or as many as the smallest edge allows.

    Raises:
        ConfigError: an edge that cannot be halved so often.
    """

    def __init__(
        self,
        *,
        channels: int,
        size: Sequence[int],
        classes: int = 2,
        width: int = 64,
        levels: int | None = None,
    ) -> None:
        super().__init__()
        levels = max(1, min(DEEPEST, int(log2(min(size))))) if levels is None else levels
        if any(edge % 2**levels for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with model.critic_levels={levels}: every edge must be divisible by {2**levels}"
            )
        layers: list[nn.Module] = []
        before = channels
        for level in range(levels):
            after = width * 2**level
            layers += [nn.Conv2d(before, after, 4, 2, padding=1), nn.LeakyReLU(SLOPE)]
            before = after
        self.trunk = nn.Sequential(*layers)
        self.judge = nn.Conv2d(before, 1, 3, padding=1, bias=False)
        left = (size[0] // 2**levels, size[1] // 2**levels)
        self.head = nn.Conv2d(before, classes, left, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How real an image is, mean over patches, and its class's logits: (B, C, S) to (B,) and
        (B, K).
        """
        trunk = self.trunk(x)
        return self.judge(trunk).flatten(1).mean(dim=1), self.head(trunk).flatten(1)

    def score(self, x: Tensor) -> Tensor:
        """How real an image is: (B, C, S) to (B,)."""
        real: Tensor = self.judge(self.trunk(x)).flatten(1).mean(dim=1)
        return real

    def logits(self, x: Tensor) -> Tensor:
        """Of the classes: (B, C, S) to (B, K)."""
        found: Tensor = self.head(self.trunk(x)).flatten(1)
        return found
