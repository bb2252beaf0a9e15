"""A network that outlines anomalies after training on made-up ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aberra.errors import ConfigError
from aberra.kinds import one_hot
from aberra.nets.unet import AdditiveUNet
from aberra.options import (
    Dims,
    Edge,
    Few,
    Maybe,
    NotNegative,
    Positive,
    ShareAboveZero,
    ShareBelowOne,
    Width,
    configured,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


Source = Literal[
    "hyper", "hypo", "texture", "patch", "mass", "ventricle", "tumour", "foreign", "foreign-shifted"
]
Shape = Literal["ellipsoid", "sphere", "blob", "tube", "box", "cube"]
Blend = Literal["alpha", "poisson", "mixed"]
Label = Literal["class", "binary", "weight", "intensity"]

CLASSES = (1, 2, 3)
"""Label values of synthetic lesions: brighter than the tissue was, darker, or of another
texture."""
PAINTED = {"sources": ["hyper", "hypo", "texture"], "shapes": ["ellipsoid", "blob", "tube"], "radius_mm": []}
PASTED = {"sources": ["patch"], "shapes": ["box"], "blends": ["alpha"]}
"""Two families of anomalies: who learns from the one is validated with the other."""
ELSEWHERE = ("patch", "foreign", "foreign-shifted")
"""Sources of pasted anomalies."""
FEWEST = 100
"""Diseased voxels from which a sample has its full weight: the outline of a smaller lesion is
mostly border."""


class AnomalySegmenter(AdditiveUNet):
    """Learns the outlines of synthetic lesions; its map says how likely, or how much, a voxel is
    unlike healthy tissue.

    One network for the family of methods that learn from anomalies made of healthy images: a task
    is shape × source × blend × label. Foreign patch interpolation (Tan, Hou, Batten, Qiu, Kainz
    2020, arXiv 2011.04197), Poisson image interpolation (Tan et al. 2021, arXiv 2107.02622),
    natural synthetic anomalies (Schlüter et al. 2022, arXiv 2109.15222), CutPaste (Li et al. 2021,
    arXiv 2104.04015), the winner of MOOD 2022 (Naval Marimont, Tarroni, arXiv 2308.01412), and
    lesions painted into images of label maps (Billot et al. 2023, SynthSeg, Medical Image Analysis
    86; Liu et al. 2025, UNA, CVPR). An encoder and decoder with additive skips.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        widths: filters of each level, finest first; each further level halves the grid.
        label: what is learnt of a lesion: its ``class`` (brighter, darker, other, by softmax with
            the background), ``binary`` where it is, or, by binary cross-entropy, the ``weight`` α
            of what was planted or the ``intensity`` by which it changed.
        weight: of the diseased voxels' mean cross-entropy against the healthy ones' (labels
            ``class`` and ``binary``).
        dice: of the soft Dice loss (the same).
        maps: channels that the preparation appends and that lesions are not planted into: 3 with
            ``atlas-maps``.
        restores: a second head learns the image without lesions, which the score returns as
            reconstruction.
        sources, shapes, blends, radius_mm, edges, edge_mm, factor, scale, gain, count, healthy:
            what is planted into healthy scans, see :class:`aberra.synthesis.planted.Planted`.

    Raises:
        ConfigError: fewer than two levels, an edge that cannot be halved so often, or a range whose
            ends are swapped.

    Draws of :meth:`segmentations` are mirror images: the first is the image itself, the second is
    mirrored left and right. Validation is by average precision on anomalies of another family than
    learnt from: painted ones (brighter, darker, other texture; ellipsoids, blobs, tubes) for who
    learns from patches alone, else boxes cut from elsewhere in the scan (the rule of Baugh et al.
    2023, Many tasks make light work, MICCAI).

    Called with (B, C, S) it gives the logits (B, 4, S) of background, brighter, darker and other, or
    (B, 1, S) of a lesion; then what restores x, (B, C, S).
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
        label: Label = "class",
        weight: Positive = 0.3,
        dice: NotNegative = 0.2,
        maps: Maybe = 0,
        restores: bool = False,
        sources: Sequence[Source] = ("hyper", "hypo", "texture"),
        shapes: Sequence[Shape] = ("ellipsoid", "blob", "tube"),
        blends: Sequence[Blend] = (),
        radius_mm: Sequence[Positive] = (1.5, 15.0),
        edges: Sequence[ShareAboveZero] = (0.1, 0.4),
        edge_mm: Sequence[NotNegative] = (1.0, 1.0),
        factor: Sequence[ShareAboveZero] = (1.0, 1.0),
        scale: Sequence[Positive] = (1.0, 1.0),
        gain: ShareBelowOne = 0.0,
        count: Few = 4,
        healthy: ShareBelowOne = 0.2,
    ) -> None:
        kinds = CLASSES if label == "class" else ()
        logits = 1 + len(kinds)
        ranges = {
            "radius_mm": radius_mm,
            "edges": edges,
            "edge_mm": edge_mm,
            "factor": factor,
            "scale": scale,
        }
        for name, ends in ranges.items():
            if len(ends) != 2 or ends[0] > ends[1]:
                raise ConfigError(f"model.{name}={list(ends)}; expected the smallest and the largest")
        out = logits + (channels if restores else 0)
        super().__init__(channels=channels + maps, dims=dims, size=size, widths=widths, out=out)
        self.target = label
        self.kinds, self.logits = kinds, logits
        self.restores = restores
        self.grows = self.stride  # whole brains in one pass: see Runner
        self.planted: dict[str, Any] = {
            "sources": list(sources), "shapes": list(shapes), "blends": list(blends), "label": label, "gain": gain,
            "count": count, "healthy": healthy, "before": restores,
        } | {name: list(ends) for name, ends in ranges.items()}  # fmt: skip
        self.weight = weight
        self.dice = dice
        with torch.no_grad():
            self.head.bias[0] = 3.0 if self.kinds else -3.0  # type: ignore[index]  # lesions are rare

    # -- in use ------------------------------------------------------------------------------------

    def segmentations(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Probabilities of the three kinds, (B, 3, S), or of a lesion, (B, 1, S), of ``count``
        mirror images, mirrored back.
        """
        axes = range(x.ndim - 1, 1, -1)
        mirrored = [chosen for many in range(len(axes) + 1) for chosen in combinations(axes, many)]
        for number in range(count):
            flips = mirrored[number % len(mirrored)]
            yield self._classes(self(x.flip(flips))).softmax(dim=1)[:, 1:].flip(flips)

    def restored(self, x: Tensor) -> Tensor:
        """The image without lesions, (B, C, S), of a model that ``restores``."""
        change: Tensor = self(x)[:, self.logits :]
        return x[:, : change.shape[1]] + change

    def _classes(self, out: Tensor) -> Tensor:
        """Logits of the background and what else there is, (B, 1 + K, S); of one logit that of the
        background is 0.
        """
        logits = out[:, : self.logits].float()
        return logits if self.kinds else torch.cat([torch.zeros_like(logits), logits], dim=1)

    # -- learning ----------------------------------------------------------------------------------

    def task(self) -> dict[str, Any]:
        """What is planted into healthy samples when it is fitted to scans."""
        return self.planted

    def validation_task(self) -> dict[str, Any]:
        """Lesions of the other family, one in every sample at least and with all their weight."""
        family = PAINTED if set(self.planted["sources"]) <= set(ELSEWHERE) else PASTED
        same = {name: self.planted[name] for name in ("edges", "count", "before")}
        return same | family | {"label": "class" if self.kinds else "binary", "healthy": 0.0}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a batch; in validation also ``error``, 1 − average precision of all its voxels.

        Labels ``class`` and ``binary``: :meth:`_outlined`. ``weight`` and ``intensity``: binary
        cross-entropy with the soft truth, mean over the foreground. A model that restores adds the
        mean absolute error of the image, lesions twice.
        """
        x, mask, lesion, healthy = batch.x, batch.mask, batch.truth, batch.healthy
        out = self(x)
        logits = self._classes(out)
        if self.target in {"weight", "intensity"}:
            error = F.binary_cross_entropy_with_logits(logits[:, 1:], lesion, reduction="none")
            losses = {"loss": (error * mask).sum() / mask.sum().clamp(min=1)}
        else:
            losses = self._outlined(logits, mask, lesion)
        if self.restores and healthy is not None:
            change = out[:, self.logits :].float()
            scans = change.shape[1]
            error = (x[:, :scans] + change - healthy[:, :scans]).abs() * mask * (1 + (lesion > 0).float())
            losses["restored"] = error.sum() / (mask.sum().clamp(min=1) * scans)
            losses["loss"] = losses["loss"] + losses["restored"]
        if not self.training:
            p = 1 - logits.softmax(dim=1)[:, :1]
            losses["error"] = 1 - _average_precision(p[mask > 0], lesion[mask > 0] > 0)
        return losses

    def _outlined(self, logits: Tensor, mask: Tensor, lesion: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the classes, healthy and diseased voxels of a sample apart, and soft
        Dice of all lesions as one.

        A mean over all voxels would be a thousand times larger for a sample with a tumour than for
        one with a small lesion, and Adam, which divides by the size of gradients, would learn from
        the tumours alone.
        """
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


def _average_precision(p: Tensor, truth: Tensor) -> Tensor:
    """Mean over the positives, (N,) bool, of the precision at their score, (N,); 1 where there is
    none.
    """
    hits = truth[p.argsort(descending=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1, device=hits.device)
    return (precision * hits).sum() / hits.sum() if bool(hits.any()) else hits.new_ones(())
