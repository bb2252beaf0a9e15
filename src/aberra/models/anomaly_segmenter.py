"""A network that outlines anomalies after training on made-up ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.kinds import one_hot
from aberra.nets.unified import conv
from aberra.options import Dims, Edge, Few, NotNegative, Positive, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator

CLASSES = (1, 2, 3)
"""Label values of synthetic lesions: brighter than the tissue was, darker, or of another texture."""


FEWEST = 100
"""Diseased voxels from which a sample has its full weight: the outline of a smaller lesion is mostly border."""


class AnomalySegmenter(nn.Module):
    """Learns the outlines of synthetic lesions; its map is the probability that a voxel is brighter, darker or otherwise unlike healthy tissue.

    The idea of foreign patch interpolation (Tan, Hou, Batten, Qiu, Kainz 2020, arXiv 2011.04197) with lesions painted into images of label maps
    (Billot et al. 2023, SynthSeg, Medical Image Analysis 86; Liu et al. 2025, UNA, CVPR) instead of patches. An encoder and decoder
    with additive skips; the signed classes are told apart by softmax over background and these three.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        widths: filters of each level, finest first; each further level halves the grid.
        weight: of the diseased voxels' mean cross-entropy against the healthy ones'.
        dice: of the soft Dice loss.
        sources, shapes, radius_mm, count, healthy: what is planted into healthy scans, see :class:`aberra.synthesis.source.Planted`.

    Raises:
        ConfigError: fewer than two levels, or an edge that cannot be halved so often.

    Draws of :meth:`segmentations` are mirror images: the first is the image itself, the second is mirrored left and right.
    """

    name = "anomaly-segmenter"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 3,
        size: Sequence[Edge],
        widths: Sequence[Width] = (8, 24, 48, 96, 128),
        weight: Positive = 0.3,
        dice: NotNegative = 0.2,
        sources: Sequence[str] = ("hyper", "hypo", "texture"),
        shapes: Sequence[str] = ("ellipsoid", "blob", "tube"),
        radius_mm: Sequence[Positive] = (1.5, 15.0),
        count: Few = 4,
        healthy: ShareBelowOne = 0.2,
    ) -> None:
        super().__init__()
        halvings = len(widths) - 1
        if halvings < 1:
            raise ConfigError(f"model.widths={list(widths)}; expected filters of two levels or more")
        if any(edge % 2**halvings for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with {len(widths)} model.widths: every edge must be divisible by {2**halvings}"
            )
        self.kinds = CLASSES
        self.grows = 2**halvings  # whole brains in one pass: see Runner
        self.planted = {
            "sources": list(sources), "shapes": list(shapes), "radius_mm": list(radius_mm), "count": count, "healthy": healthy
        }  # fmt: skip
        self.weight = weight
        self.dice = dice
        self.format = torch.channels_last if dims == 2 else torch.channels_last_3d
        self.stem = _layer(dims, channels, widths[0])
        self.down = nn.ModuleList(_layer(dims, *pair, stride=2) for pair in pairwise(widths))
        self.deep = nn.ModuleList(_layer(dims, width, width) for width in widths[1:])
        self.narrow = nn.ModuleList(conv(dims)(wide, thin, 1) for thin, wide in pairwise(widths))
        self.up = nn.ModuleList(_layer(dims, width, width) for width in widths[:-1])
        self.head = conv(dims)(widths[0], 1 + len(CLASSES), 1)
        with torch.no_grad():
            self.head.bias[0] = 3.0  # type: ignore[index]  # lesions are rare
        # twice as fast in training on a CPU
        self.to(memory_format=self.format)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of background, brighter, darker and other: (B, C, S) to (B, 4, S)."""
        x = self.stem(x.contiguous(memory_format=self.format))
        skips = [x]
        for down, deep in zip(self.down, self.deep, strict=True):
            x = down(x)
            x = x + deep(x)
            skips.append(x)
        skips.pop()
        for narrow, up, skip in reversed(list(zip(self.narrow, self.up, skips, strict=True))):
            x = F.interpolate(narrow(x), size=skip.shape[2:], mode="nearest") + skip
            x = up(x)
        out: Tensor = self.head(x)
        return out

    # -- in use ----------------------------------------------------------------------------------------------------

    def segmentations(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Probabilities of the three kinds, (B, 3, S), of ``count`` mirror images, mirrored back."""
        axes = range(x.ndim - 1, 1, -1)
        mirrored = [chosen for many in range(len(axes) + 1) for chosen in combinations(axes, many)]
        for number in range(count):
            flips = mirrored[number % len(mirrored)]
            yield self(x.flip(flips)).float().softmax(dim=1)[:, 1:].flip(flips)

    # -- learning --------------------------------------------------------------------------------------------------

    def task(self) -> dict[str, Any]:
        """What is planted into healthy samples when it is fitted to scans."""
        return self.planted

    def loss(self, x: Tensor, mask: Tensor, generator: Generator, *, lesion: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the four classes, healthy and diseased voxels of a sample apart, and soft Dice of all lesions as one.

        A mean over all voxels would be a thousand times larger for a sample with a tumour than for one with a small lesion, and Adam,
        which divides by the size of gradients, would learn from the tumours alone.
        """
        del generator
        logits = self(x).float()
        told = one_hot(lesion, self.kinds) * mask
        sick = told.sum(dim=1, keepdim=True)
        well = mask * (1 - sick)
        classes = torch.cat([1 - sick, told], dim=1)
        error = -(classes * logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)
        found = (1 - logits.softmax(dim=1)[:, :1]) * mask
        healthy, diseased, count, total, both = (
            each.flatten(1).sum(dim=1)
            for each in (error * well, error * sick, sick, found + sick, found * sick)
        )
        healthy = healthy / well.flatten(1).sum(dim=1).clamp(min=1)
        diseased = self.weight * diseased / count.clamp(min=FEWEST)
        dice = (1 - (2 * both + 1) / (total + 1)) * (count > 0)
        return {
            "loss": (healthy + diseased + self.dice * dice).mean(),
            "healthy": healthy.mean(),
            "diseased": diseased.mean(),
            "dice": dice.mean(),
        }


def _layer(dims: int, before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution 3, group norm, leaky ReLU."""
    return nn.Sequential(
        conv(dims)(before, after, 3, padding=1, stride=stride, bias=False),
        nn.GroupNorm(max(1, min(8, after // 2)), after),
        nn.LeakyReLU(0.05, inplace=True),
    )
