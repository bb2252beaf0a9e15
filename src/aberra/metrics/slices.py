"""Does the score of a slice tell whether a lesion is in it?"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.bootstrap import with_intervals
from aberra.metrics.case import auroc, average_precision, position_matched_auroc
from aberra.metrics.regimes import REDUCTIONS, kinds_of, per_scan

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
        self.scans: list[int] = []
        self.ill: list[bool] = []
        self.pathologies: list[str] = []
        self.count = 0

    def add(
        self,
        patient: str,
        values: NDArray[np.float32],
        truth: NDArray[np.bool],
        region: NDArray[np.bool],
        affine: NDArray[np.float64],
        *,
        pathology: str = "",
    ) -> None:
        """Add a case: arrays (D, H, W) on the scan's grid, and the name of its disease."""
        axis = values.shape.index(1) if 1 in values.shape else superior_axis(affine)
        values = np.moveaxis(values, axis, 0)
        truth, region = (np.moveaxis(marks, axis, 0) for marks in (truth, region))
        area = region.sum(axis=(1, 2))
        lesion = (truth & region).sum(axis=(1, 2))
        used = np.flatnonzero((area > MIN_SHARE * area.max()) & ((lesion == 0) | (lesion >= LESION_VOXELS)))
        if not used.size:
            return
        first, last = int(used[0]), int(used[-1])
        ill = bool(lesion.any())
        for index in used:
            inside = region[index]
            self.scores.append(float(values[index][inside].mean(dtype=np.float64)))
            self.labels.append(bool(lesion[index]))
            self.positions.append((int(index) - first) / max(1, last - first))
            self.patients.append(patient)
            self.scans.append(self.count)
            self.ill.append(ill)
            self.pathologies.append(pathology if ill else "")
        self.count += 1

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
            "regimes": self._regimes(replicates=replicates, seed=seed),
            "pathologies": self._by_pathology(replicates=replicates, seed=seed),
        }

    def _regimes(self, *, replicates: int, seed: int) -> dict[str, Any]:
        """Slices and scans by the label of their scan, and the areas a, b and c that the two regimes
        of slices are mixtures of; see :mod:`aberra.metrics.regimes`.
        """
        scores, lesion, ill = np.array(self.scores), np.array(self.labels, bool), np.array(self.ill, bool)
        pairs = {"a": (lesion, ill & ~lesion), "b": (lesion, ~ill), "c": (ill & ~lesion, ~ill)}
        statistics: dict[str, Callable[[NDArray[np.int64]], float | None]] = {
            "clinical_auroc": lambda drawn: auroc(scores[drawn], ill[drawn]),
            "clinical_ap": lambda drawn: average_precision(scores[drawn], ill[drawn]),
            **{name: partial(_between, scores, *pair) for name, pair in pairs.items()},
        }
        found = with_intervals(statistics, self.patients, replicates=replicates, seed=seed)
        counts = asdict(kinds_of(lesion, ill)) | {"clinical_prevalence": _share(ill) if ill.any() else None}
        return counts | found | self._of_scans(replicates=replicates, seed=seed)

    def _of_scans(self, **draws: int) -> dict[str, Any]:
        """AUROC of scans by their highest and their mean slice."""
        _, first = np.unique(self.scans, return_index=True)
        ill, patients = np.array(self.ill, bool)[first], [self.patients[place] for place in first]
        reduced = {name: per_scan(self.scores, self.scans, reduce=name) for name in REDUCTIONS}
        return with_intervals(
            {f"scan_auroc_{name}": partial(_drawn, values, ill) for name, values in reduced.items()},
            patients,
            **draws,
        )

    def _by_pathology(self, *, replicates: int, seed: int) -> list[dict[str, Any]]:
        """AUROC of the slices with lesions of one disease against all slices without."""
        scores, lesion = np.array(self.scores), np.array(self.labels, bool)
        names, rows = np.array(self.pathologies), []
        for name in sorted(set(self.pathologies) - {""}):
            own = lesion & (names == name)
            statistics = {"auroc": partial(_between, scores, own, ~lesion)}
            rows.append(
                {
                    "pathology": name,
                    "scans": len(
                        {scan for scan, each in zip(self.scans, names, strict=True) if each == name}
                    ),
                    "slices": int(own.sum()),
                    **with_intervals(statistics, self.patients, replicates=replicates, seed=seed),
                }
            )
        return rows


def _between(
    scores: NDArray[np.float64],
    above: NDArray[np.bool],
    below: NDArray[np.bool],
    drawn: NDArray[np.int64],
) -> float | None:
    """AUROC of the slices ``above`` against those ``below``, of the drawn ones."""
    used = drawn[above[drawn] | below[drawn]]
    return auroc(scores[used], above[used])


def _drawn(scores: NDArray[np.float64], marks: NDArray[np.bool], drawn: NDArray[np.int64]) -> float | None:
    """AUROC of what is drawn."""
    return auroc(scores[drawn], marks[drawn])


def _share(marks: NDArray[np.bool]) -> float | None:
    return float(marks.mean()) if marks.size else None


def superior_axis(affine: NDArray[np.float64]) -> int:
    """Array axis nearest to superior–inferior."""
    return int(np.abs(affine[2, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())
