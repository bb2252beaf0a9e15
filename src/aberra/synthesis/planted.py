"""Healthy training samples into which anomalies are planted as they are drawn,
for :func:`aberra.training.train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import ConfigError
from aberra.models.anomaly_segmenter import Blend, Label, Shape, Source
from aberra.options import Few, ShareBelowOne, configured
from aberra.synthesis.lesions import draw_lesion, plant
from aberra.synthesis.parameters import FOREIGN, PATCHES
from aberra.synthesis.profiles import BRIGHT, DARK, TEXTURE
from aberra.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

TARGETS = {"class": "binary", "binary": "binary", "weight": "soft", "intensity": "intensity"}
"""What :class:`Planted` returns as truth, to the label of a lesion that it is made of."""


class Planted:
    """Healthy samples with the lesions of :mod:`aberra.synthesis.lesions` planted in; 2-D or 3-D.

    Args:
        samples: draws healthy intensities (B, C, S) and foreground (B, 1, S), and, for foreign
            tissue, those of another scan at the same place, as :class:`aberra.training.Sampler`
            does with ``partners``.
        spacing: mm along S.
        channels: names of the scan's; further channels of the samples are left as they are; a
            tumour is dark in ``t1``.
        sources: to choose from; one that is named twice is drawn twice as often.
        shapes: to choose from.
        blends: of patches and textures, to choose from; none is ``alpha`` or ``poisson``.
        label: truth (B, 1, S) is a ``class`` (1 where a lesion is brighter than what was there, 2
            darker, 3 of another texture or a patch), ``binary``, the ``weight`` α of what was
            planted, or the ``intensity`` by which it changed on a logistic scale.
        radius_mm: smallest and largest mean radius; none is half of ``edges`` times the shortest
            edge of the sample.
        edges: of boxes and cubes, smallest and largest over those of the sample.
        edge_mm: narrowest and widest soft edge; 0 is a hard one.
        factor: smallest and largest weight α.
        scale: smallest and largest enlargement of a patch's tissue.
        gain: largest relative change of a patch's intensity.
        count: most lesions of a sample; at least one.
        healthy: share of samples without lesion.
        before: return the images before planting, (B, C, S), too.

    Raises:
        ConfigError: unknown name, a range whose ends are swapped, a share outside [0, 1), or
            foreign tissue and no other scan to take it from.
    """

    @configured("planted")
    def __init__(
        self,
        samples: Any,
        *,
        spacing: Sequence[float],
        channels: Sequence[str] = ("image",),
        sources: Sequence[Source] = ("hyper", "hypo", "texture"),
        shapes: Sequence[Shape] = ("ellipsoid", "blob", "tube"),
        blends: Sequence[Blend] = (),
        label: Label = "class",
        radius_mm: Sequence[float] = (1.5, 15.0),
        edges: Sequence[float] = (0.1, 0.4),
        edge_mm: Sequence[float] = (1.0, 1.0),
        factor: Sequence[float] = (1.0, 1.0),
        scale: Sequence[float] = (1.0, 1.0),
        gain: float = 0.0,
        count: Few = 4,
        healthy: ShareBelowOne = 0.2,
        before: bool = False,
    ) -> None:
        ranges = {
            "radius_mm": radius_mm,
            "edges": edges,
            "edge_mm": edge_mm,
            "factor": factor,
            "scale": scale,
        }
        for what, ends in ranges.items():
            if (what, len(ends)) != ("radius_mm", 0) and (len(ends) != 2 or ends[0] > ends[1]):
                raise ConfigError(
                    f"planted lesions: {what}={list(ends)}; expected the smallest and the largest"
                )
        self.samples = samples
        self.spacing = tuple(spacing)
        self.channels = tuple(channels)
        self.label = label
        self.count = count
        self.healthy = healthy
        self.before = before
        self.foreign = not set(FOREIGN).isdisjoint(sources)
        self.drawn: dict[str, Any] = {
            "sources": list(sources), "shapes": list(shapes), "blends": list(blends), "gain": gain, "label": TARGETS[label]
        } | {what: tuple(map(float, ends)) for what, ends in ranges.items()}  # fmt: skip
        self.kept: dict[tuple[int, int], tuple[torch.Tensor, ...]] = {}

    def __len__(self) -> int:
        """As many as there are healthy ones."""
        return len(self.samples)

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Random samples: intensities (B, C, S), foreground (B, 1, S), truth (B, 1, S) and, with
        ``before``, (B, C, S).
        """
        return self._planted(self.samples.draw(seed, count), [*seed, 4])

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """Always the same samples."""
        if (count, seed) not in self.kept:
            self.kept = {(count, seed): self._planted(self.samples.fixed(count, seed), [seed, 5])}
        return self.kept[count, seed]

    def _planted(self, drawn: tuple[torch.Tensor, ...], seed: list[int]) -> tuple[torch.Tensor, ...]:
        import torch

        x, mask, *other = drawn[: 4 if self.foreign else 2]
        if self.foreign and len(other) < 2:
            raise ConfigError("planted lesions: foreign tissue needs samples that come with another scan's")
        planted = [
            self._sample(*(each.numpy() for each in one), rng=np.random.default_rng([*seed, index]))
            for index, one in enumerate(zip(x, mask, *other, strict=True))
        ]
        images, truth = (torch.from_numpy(np.stack(each)) for each in zip(*planted, strict=True))
        return (images, mask, truth, x) if self.before else (images, mask, truth)

    def _sample(
        self,
        x: NDArray[np.float32],
        mask: NDArray[np.float32],
        *other: NDArray[np.float32],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scans = len(self.channels)
        x, maps = x[:scans], x[scans:]  # what preparation appended knows of no lesion
        shape = (1, *x.shape[1:]) if x.ndim == 3 else x.shape[1:]
        spacing = (1.0, *self.spacing[-2:]) if x.ndim == 3 else self.spacing
        inside = mask.reshape(shape) > 0
        truth = np.zeros(shape, dtype=np.float32)
        if rng.random() < self.healthy or not inside.any():
            return np.concatenate([x, maps]), truth.reshape(mask.shape)
        # a lesion's strength is a share of the median, which is 0 after normalisation: count from
        # the darkest instead
        whole = x.reshape(-1, *shape)
        darkest = np.where(inside, whole, np.inf).min(axis=(1, 2, 3), keepdims=True)

        def raised(data: NDArray[np.float32], where: NDArray[np.bool]) -> Volume:
            values = np.where(where, data.reshape(-1, *shape) - darkest, 0)
            return Volume(data=values, affine=np.diag([*spacing, 1.0]), channels=self.channels, mask=where)

        volume = raised(x, inside)
        giver = raised(other[0][:scans], other[1].reshape(shape) > 0) if other else None
        drawn = dict(self.drawn)
        if not drawn["radius_mm"]:
            shortest = min(length * step for length, step in zip(shape, spacing, strict=True) if length > 1)
            drawn["radius_mm"] = tuple(0.5 * shortest * edge for edge in drawn["edges"])
        for _ in range(int(rng.integers(1, self.count + 1))):
            lesion = draw_lesion(volume, rng, **drawn)
            after, label = plant(volume.with_(lesion=None), lesion, giver)
            if self.label == "class":
                there = (label >= 0.5) & inside
                change = (after.data - volume.data)[:, there].mean() if there.any() else 0.0
                truth[there] = (
                    TEXTURE if lesion.source in {"texture", *PATCHES} else BRIGHT if change > 0 else DARK
                )
            else:
                truth = np.maximum(truth, label * inside)
            volume = after
        planted = np.where(inside, volume.data + darkest, whole).astype(np.float32)
        return np.concatenate([planted.reshape(x.shape), maps]), truth.reshape(mask.shape)
