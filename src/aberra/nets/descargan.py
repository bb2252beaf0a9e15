"""DeScarGAN's two networks: a generator with a branch for each class, and a critic with three heads.

The layers are those that give the thesis' 8,528,262 and 18,170,180 parameters, to the last one, at
256² with one channel.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2, prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES = 2
"""Healthy and diseased."""

MOMENTUM = 0.01
"""Of the running mean of batch norm."""

STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))
"""Convolutions of the critic before each halving, in multiples of its width."""


class EvalNorm(nn.BatchNorm2d):
    """Batch norm that in use may go on as in training, an image at a time: (B, F, S) to (B, F, S).

    Args:
        width: F.
        own: in use an image is normalised by its own mean and variance, which are those of a batch
            of one in training mode, not by the running ones. What else is in the batch does not
            matter.
    """

    def __init__(self, width: int, *, own: bool) -> None:
        super().__init__(width, momentum=MOMENTUM)
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        if self.training or not self.own:
            return super().forward(x)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class Generator(nn.Module):
    """A U-Net that is told the class to translate to, and ends in a branch for each class: (B, C, S)
    to (B, C, S).

    The classes part at the last two convolutions; there is no skip at the full resolution, which
    would keep the structure of the image as it is.

    Args:
        channels: C.
        size: S; every edge divisible by 2 ** levels.
        width: filters of the first level, twice as many at each further one.
        levels: how often the grid is halved.
        own: see :class:`EvalNorm`.

    Raises:
        ConfigError: an edge that cannot be halved so often, or is 1 then.
    """

    def __init__(
        self, *, channels: int, size: Sequence[int], width: int = 64, levels: int = 3, own: bool = True
    ) -> None:
        super().__init__()
        least = 2**levels
        if any(edge % least or edge == least for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with model.levels={levels}: every edge must be a multiple of {least}, and more than that"
            )
        widths = [width * 2**level for level in range(levels + 1)]

        def block(*filters: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for before, after in pairwise(filters):
                convolution = nn.Conv2d(before, after, 3, padding=1)
                layers += [convolution, EvalNorm(after, own=own), nn.ReLU()]
            return nn.Sequential(*layers)

        first = channels + CLASSES
        self.down = nn.ModuleList(block(before, after, after) for before, after in pairwise([first, *widths]))
        self.up = nn.ModuleList(block(after, before) for before, after in pairwise(widths))
        self.merge = nn.ModuleList(block(2 * each, each, each) for each in widths[1:-1])
        self.branches = nn.ModuleList(
            nn.Sequential(
                block(width, width), nn.Conv2d(width, channels, 3, padding=1), EvalNorm(channels, own=own)
            )
            for _ in range(CLASSES)
        )
        initialised(self, nn.init.kaiming_normal_)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Images (B, C, S) and the class to translate each to, (B,)."""
        told = F.one_hot(target, CLASSES).to(x)[..., None, None].expand(-1, -1, *x.shape[2:])
        x = torch.cat([x, told], dim=1)  # (B, C + 2, S)
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if not level else F.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](F.interpolate(x, scale_factor=2, mode="nearest"))
            if level:
                x = self.merge[level - 1](torch.cat([skips[level], x], dim=1))
        return of_class(torch.stack([branch(x) for branch in self.branches]), target)


class Critic(nn.Module):
    """Three heads on one trunk without norm: is it a healthy image, is it a diseased one, and which
    of the two is it?

    Args:
        channels: C.
        size: S; every edge divisible by 2 ** levels, and by twice that for the third head.
        width: filters of the first convolution, 16 times as many of the last.
        levels: how often the trunk halves the grid, at most 5; None is 5, or fewer where less than
            4 px would be left of the smallest edge.
        judges: has the first two heads; without, it is a classifier alone.

    Raises:
        ConfigError: a number of levels outside 1 to 5, or an edge that cannot be halved so often.
    """

    def __init__(
        self,
        *,
        channels: int,
        size: Sequence[int],
        width: int = 32,
        levels: int | None = None,
        judges: bool = True,
    ) -> None:
        super().__init__()
        fewest = max(1, min(len(STAGES), int(log2(min(size) / 4)) if min(size) >= 4 else 1))
        levels = fewest if levels is None else levels
        if levels > len(STAGES) or any(edge % 2 ** (levels + 1) for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with model.critic_levels={levels}: expected 1 to {len(STAGES)}, and edges divisible by {2 ** (levels + 1)}"
            )
        layers: list[nn.Module] = []
        before = channels
        for stage in STAGES[:levels]:
            for times in stage:
                layers += [nn.Conv2d(before, times * width, 3, padding=1), nn.ReLU()]
                before = times * width
            layers.append(nn.MaxPool2d(2))
        wide = 2 * before
        self.trunk = nn.Sequential(*layers, nn.Conv2d(before, wide, 3, padding=1), nn.ReLU())

        def head() -> list[nn.Module]:
            return [layer for _ in range(2) for layer in (nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU())]

        self.judges = nn.ModuleList(
            nn.Sequential(*head(), nn.Conv2d(wide, 1, 1)) for _ in range(CLASSES if judges else 0)
        )
        self.features = nn.Sequential(*head())
        area = prod(edge // 2 ** (levels + 1) for edge in size)
        self.head = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(wide * area, 64),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(64, CLASSES),
        )
        initialised(self, nn.init.xavier_normal_)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How real an image is as one of each class, mean over patches, and its class's logits: (B,
        C, S) to (B, 2) and (B, 2).
        """
        trunk = self.trunk(x)
        real = torch.stack([judge(trunk).flatten(1).mean(dim=1) for judge in self.judges], dim=1)
        return real, self.head(self.features(trunk))

    def score(self, x: Tensor, classes: Tensor) -> Tensor:
        """How real an image is as one of its class: (B, C, S) and (B,) to (B,)."""
        trunk = self.trunk(x)
        real = torch.stack([judge(trunk).flatten(1).mean(dim=1) for judge in self.judges])
        return of_class(real, classes)

    def logits(self, x: Tensor) -> Tensor:
        """Of healthy and diseased: (B, C, S) to (B, 2)."""
        found: Tensor = self.head(self.features(self.trunk(x)))
        return found


def of_class(answers: Tensor, classes: Tensor) -> Tensor:
    """Each sample's own of the classes' answers: (2, B, …) and (B,) to (B, …)."""
    return answers[classes, torch.arange(len(classes), device=classes.device)]


def initialised(network: nn.Module, how: object) -> None:
    """Draw the weights of all convolutions and linear layers by ``how``; biases start at 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            how(layer.weight)  # type: ignore[operator]
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
