"""Lesion metrics: which were found, how many findings are false, FROC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aberra.foreground import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS_MM3 = (0.0, 100.0, 300.0, 1000.0, 10_000.0, float("inf"))
"""Edges of the volume bins."""

IOU = 0.1
"""Overlap of a lesion with the findings that touch it, from which it counts as detected by IoU."""

FP_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a scan at which FROC is read off, as in LUNA16."""


@dataclass
class LesionCounts:
    """Detections of one threshold, summed over cases; all memory is per bin, not per case.

    Attributes:
        lesions: true lesions by volume bin.
        overlapped: of these, touched by a finding.
        matched: of these, with an IoU of at least :data:`IOU`.
        findings: predicted regions.
        false: findings that touch no lesion.
        scans: cases.
    """

    lesions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BINS_MM3) - 1, dtype=np.int64))
    overlapped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BINS_MM3) - 1, dtype=np.int64))
    matched: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BINS_MM3) - 1, dtype=np.int64))
    findings: int = 0
    false: int = 0
    scans: int = 0

    def add(self, mask: NDArray[np.bool], truth: NDArray[np.bool], voxel_mm3: float) -> None:
        """Add a case: predicted and true masks, shape (D, H, W), 26-connected regions."""
        from scipy.ndimage import label

        true_labels, n_true = label(truth, structure=EVERYWHERE)
        found_labels, n_found = label(mask, structure=EVERYWHERE)
        self.scans += 1
        self.findings += n_found
        pairs = _pairs(true_labels, found_labels)
        self.false += n_found - len(set(pairs[:, 1].tolist()))
        sizes = np.bincount(true_labels.ravel(), minlength=n_true + 1)[1:]
        found_sizes = np.bincount(found_labels.ravel(), minlength=n_found + 1)
        for number, size in enumerate(sizes, start=1):
            bin_ = int(np.searchsorted(BINS_MM3, size * voxel_mm3, side="right")) - 1
            self.lesions[bin_] += 1
            touching = pairs[pairs[:, 0] == number]
            if not len(touching):
                continue
            self.overlapped[bin_] += 1
            shared = touching[:, 2].sum()
            union = size + found_sizes[touching[:, 1]].sum() - shared
            self.matched[bin_] += int(shared / union >= IOU)

    def summary(self) -> dict[str, object]:
        """Recall in all and by bin, false positives a scan, precision of findings."""
        total = int(self.lesions.sum())
        return {
            "lesions": total,
            "recall_overlap": int(self.overlapped.sum()) / total if total else None,
            "recall_iou": int(self.matched.sum()) / total if total else None,
            "false_positives_per_scan": self.false / self.scans if self.scans else None,
            "finding_precision": 1 - self.false / self.findings if self.findings else None,
            "by_volume": [
                {
                    "from_mm3": low,
                    "to_mm3": None if np.isinf(high) else high,
                    "lesions": int(count),
                    "recall_overlap": int(hit) / int(count) if count else None,
                    "recall_iou": int(iou) / int(count) if count else None,
                }
                for low, high, count, hit, iou in zip(
                    BINS_MM3[:-1], BINS_MM3[1:], self.lesions, self.overlapped, self.matched, strict=True
                )
            ],
        }


def _pairs(true_labels: NDArray[np.int32], found_labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows (true region, found region, shared voxels)."""
    both = (true_labels > 0) & (found_labels > 0)
    if not both.any():
        return np.zeros((0, 3), dtype=np.int64)
    width = int(found_labels.max()) + 1
    keys, counts = np.unique(
        true_labels[both].astype(np.int64) * width + found_labels[both], return_counts=True
    )
    return np.stack([keys // width, keys % width, counts], axis=1)


class Froc:
    """Free-response ROC over a ladder of thresholds: lesion recall against false positives a scan.

    Args:
        thresholds: rising.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self.thresholds = list(thresholds)
        self.counts = [LesionCounts() for _ in self.thresholds]

    def add(
        self, values: NDArray[np.float32], truth: NDArray[np.bool], voxel_mm3: float, min_voxels: int
    ) -> None:
        """Add a case's map, shape (D, H, W); findings under ``min_voxels`` are dropped."""
        for threshold, counts in zip(self.thresholds, self.counts, strict=True):
            counts.add(large_regions(values > threshold, min_voxels), truth, voxel_mm3)

    def points(self) -> list[tuple[float, float]]:
        """(false positives a scan, recall) from the highest threshold down; empty without lesions."""
        found = []
        for counts in reversed(self.counts):
            total = int(counts.lesions.sum())
            if total and counts.scans:
                found.append((counts.false / counts.scans, int(counts.overlapped.sum()) / total))
        return found

    def at(self, rates: Sequence[float] = FP_RATES) -> dict[str, float | None]:
        """Best recall reached at no more than each rate of false positives; None where no threshold
        is that strict.
        """
        points = self.points()
        return {
            f"{rate:g}": max((recall for false, recall in points if false <= rate), default=None)
            for rate in rates
        }


def large_regions(mask: NDArray[np.bool], min_voxels: int) -> NDArray[np.bool]:
    """Keep 26-connected regions of at least so many voxels."""
    from scipy.ndimage import label

    labels, count = label(mask, structure=EVERYWHERE)
    if not count:
        return mask
    keep = np.bincount(labels.ravel()) >= min_voxels
    keep[0] = False
    kept: NDArray[np.bool] = keep[labels]
    return kept
