"""Does the score of a slice tell whether a lesion is in it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.bootstrap import with_intervals
from aberra.metrics.case import auroc, average_precision, position_matched_auroc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

LESION_VOXELS = 20
"""Fewest lesion voxels of a slice with a lesion, as in Zimmerer 2018 and Heer 2021; slices with
fewer but some are left out."""

MIN_SHARE = 0.05
"""Slices with less than this share of the largest slice's region are left out: they hold hardly any
brain."""


class SliceScores:
    """Collects a score, a label and a relative position for every slice along the axis nearest to
    superior–inferior; an image is one.

    The score is the map's mean inside the region, which for a residual map is the mean ℓ1 error
    (Heer 2021) and for a map of the score ``term`` the term itself.
    """

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.labels: list[bool] = []
        self.positions: list[float] = []
        self.patients: list[str] = []

    def add(
        self,
        patient: str,
        values: NDArray[np.float32],
        truth: NDArray[np.bool],
        region: NDArray[np.bool],
        affine: NDArray[np.float64],
    ) -> None:
        """Add a case: arrays (D, H, W) on the scan's grid."""
        axis = values.shape.index(1) if 1 in values.shape else superior_axis(affine)
        values = np.moveaxis(values, axis, 0)
        truth, region = (np.moveaxis(marks, axis, 0) for marks in (truth, region))
        area = region.sum(axis=(1, 2))
        lesion = (truth & region).sum(axis=(1, 2))
        used = np.flatnonzero((area > MIN_SHARE * area.max()) & ((lesion == 0) | (lesion >= LESION_VOXELS)))
        if not used.size:
            return
        first, last = int(used[0]), int(used[-1])
        for index in used:
            inside = region[index]
            self.scores.append(float(values[index][inside].mean(dtype=np.float64)))
            self.labels.append(bool(lesion[index]))
            self.positions.append((int(index) - first) / max(1, last - first))
            self.patients.append(patient)

    def summary(self, *, replicates: int, seed: int) -> dict[str, Any]:
        """AUROC and AP with intervals over patients, and the AUROC among slices of like position."""
        scores, labels = np.array(self.scores), np.array(self.labels, dtype=bool)
        statistics: Mapping[str, Callable[[NDArray[np.int64]], float | None]] = {
            "auroc": lambda drawn: auroc(scores[drawn], labels[drawn]),
            "ap": lambda drawn: average_precision(scores[drawn], labels[drawn]),
        }
        matched = position_matched_auroc(scores, labels, self.positions) if len(scores) else None
        return {
            "slices": len(scores),
            "with_lesion": int(labels.sum()),
            **with_intervals(statistics, self.patients, replicates=replicates, seed=seed),
            "position_matched_auroc": matched,
        }


def superior_axis(affine: NDArray[np.float64]) -> int:
    """Array axis nearest to superior–inferior."""
    return int(np.abs(affine[2, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())
