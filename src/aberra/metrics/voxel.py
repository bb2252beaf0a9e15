"""Voxel metrics from one pass over the cases, in memory that does not grow with their number.

Scores are counted in a histogram over their float32 bit patterns: the pattern of a non-negative
float grows with its value, so the top bits are a ranking that needs no range and no sort. With 27
bits two scores share a bin only if they agree to 2⁻¹⁹ of their value; what that can cost is
computed, not assumed (``error_bound``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 27
"""Bits of the 31-bit pattern of a non-negative float32 that are kept."""

CHUNK = 1 << 21
"""Voxels counted at once."""


@dataclass(frozen=True)
class Curve:
    """Ranking metrics of one pool of voxels.

    Attributes:
        ap: step-wise average precision, Σ (R_n − R_{n−1}) P_n, as scikit-learn defines it; None
            without positives.
        auroc: area under the ROC curve, ties count half; None without both classes.
        best_dice: ⌈Dice⌉, the highest Dice over all thresholds, found with the truth: an upper
            bound; None without positives.
        best_threshold: where; a voxel is anomalous strictly above it.
        prevalence: share of positives, which is also the AP of a constant score.
        positives: anomalous voxels.
        voxels: all.
        error_bound: AP and AUROC of the unbinned scores are at most this far away.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.voxel import VoxelHistogram
        >>> histogram = VoxelHistogram(bits=16)
        >>> histogram.add(np.float32([0.1, 0.2, 0.3, 0.9]), np.array([False, False, False, True]))
        >>> curve = histogram.curve()
        >>> curve.ap, curve.auroc, curve.best_dice, curve.prevalence
        (1.0, 1.0, 1.0, 0.25)
    """

    ap: float | None
    auroc: float | None
    best_dice: float | None
    best_threshold: float | None
    prevalence: float
    positives: int
    voxels: int
    error_bound: float


class VoxelHistogram:
    """Counts positives and negatives by score.

    Args:
        bits: resolution. The 27 reserve 2 GiB of address space, of which only the pages of scores
            that occur become memory (about 8 MiB an octave of scores); fewer bits for a case or a
            bootstrap.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.voxel import VoxelHistogram
        >>> histogram = VoxelHistogram(bits=16)
        >>> histogram.add(np.float32([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        >>> round(histogram.curve().ap, 3)
        0.833
    """

    def __init__(self, bits: int = BITS) -> None:
        self.shift = np.uint32(31 - bits)
        self.negatives = np.zeros(1 << bits, dtype=np.int64)
        self.positives = np.zeros(1 << bits, dtype=np.int64)

    def add(self, scores: NDArray[np.float32], truth: NDArray[np.bool]) -> None:
        """Count voxels; arrays of any equal shape.

        Raises:
            InputError: negative or not finite scores, or shapes that differ.
        """
        if scores.shape != truth.shape:
            raise InputError(
                f"scores of shape {scores.shape}, truth of shape {truth.shape}; they must be equal"
            )
        flat = np.ascontiguousarray(scores, dtype=np.float32).ravel()
        marks = np.asarray(truth).ravel()
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            if not (part >= 0).all() or not np.isfinite(part[-1:]).all() or np.isinf(part.max(initial=0)):
                raise InputError("anomaly scores must be finite and 0 or above")
            # + 0.0 turns −0.0 (sign bit set) into 0.0
            keys = ((part + np.float32(0)).view(np.uint32) >> self.shift).astype(np.int64)
            found = marks[start : start + CHUNK].astype(bool)
            np.add.at(self.positives, keys[found], 1)
            np.add.at(self.negatives, keys[~found], 1)

    def curve(self) -> Curve:
        """Compute all ranking metrics."""
        return curve_of(self.positives, self.negatives, shift=int(self.shift))


def curve_of(positives: NDArray[np.int64], negatives: NDArray[np.int64], *, shift: int) -> Curve:
    """Ranking metrics from counts by rising score bin."""
    used = used_bins(positives, negatives)[::-1]  # from the highest score down
    hits, misses = positives[used].astype(np.float64), negatives[used].astype(np.float64)
    true, false = hits.cumsum(), misses.cumsum()
    n_positive = float(true[-1]) if used.size else 0.0
    n_negative = float(false[-1]) if used.size else 0.0
    total = n_positive + n_negative
    prevalence = n_positive / total if total else 0.0
    if not n_positive:
        return Curve(None, None, None, None, prevalence, 0, int(total), 0.0)
    ap = float((hits * true / (true + false)).sum() / n_positive)
    auroc = None
    if n_negative:
        auroc = float(((n_negative - false) * hits + 0.5 * hits * misses).sum() / (n_positive * n_negative))
    # "strictly above 0" is the lowest threshold there is: voxels that score 0 are never flagged
    dice = np.where(used > 0, 2 * true / (true + false + n_positive), 0.0)
    best = int(dice.argmax())
    return Curve(
        ap=ap,
        auroc=auroc,
        best_dice=float(dice[best]),
        best_threshold=edge(int(used[best]), shift),
        prevalence=prevalence,
        positives=int(n_positive),
        voxels=int(total),
        error_bound=max(
            _ap_bound(hits, misses, true, false) / n_positive,
            float((0.5 * hits * misses).sum()) / (n_positive * max(n_negative, 1)),
        ),
    )


def used_bins(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of bins with voxels, rising; block by block, so that pages never written stay unread."""
    found = []
    for start in range(0, len(positives), CHUNK):
        block = slice(start, start + CHUNK)
        found.append(np.flatnonzero((positives[block] > 0) | (negatives[block] > 0)) + start)
    return np.concatenate(found)


def edge(index: int, shift: int) -> float:
    """Largest float32 below a bin: everything in the bin and above lies strictly over it; 0 for the
    lowest bin.
    """
    if index == 0:
        return 0.0
    lowest = np.uint32(index << shift).view(np.float32)
    return float(np.nextafter(lowest, np.float32(0)))


def _ap_bound(
    hits: NDArray[np.float64],
    misses: NDArray[np.float64],
    true: NDArray[np.float64],
    false: NDArray[np.float64],
) -> float:
    """How far any order inside the bins can move the sum of precisions over the positives.

    Within a bin all positives first gives at most precision t / (t + f₀), f₀ being the negatives
    above the bin; all negatives first gives at least (t₀ + 1) / (t₀ + 1 + f), t₀ being the
    positives above. A bin of positives alone counts too: its scores may differ, and precision rises
    from the first to the last of them.
    """
    shared = (hits > 0) & (hits + misses > 1)
    hits, misses, true, false = hits[shared], misses[shared], true[shared], false[shared]
    middle = true / (true + false)
    high = true / np.maximum(true + false - misses, 1)
    low = (true - hits + 1) / (true - hits + 1 + false)
    return float((hits * np.maximum(high - middle, middle - low)).sum())


@dataclass
class Overlap:
    """Counts of a binary mask against the truth.

    Attributes:
        true: voxels in both.
        predicted: voxels in the mask.
        actual: voxels in the truth.

    Examples:
        >>> import numpy as np
        >>> mask, truth = np.array([True, True, False]), np.array([True, False, False])
        >>> round(Overlap.of(mask, truth).dice, 3)
        0.667
    """

    true: int = 0
    predicted: int = 0
    actual: int = 0

    @classmethod
    def of(cls, mask: NDArray[np.bool], truth: NDArray[np.bool]) -> Overlap:
        """Count one case."""
        return cls(int((mask & truth).sum()), int(mask.sum()), int(truth.sum()))

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.true + other.true, self.predicted + other.predicted, self.actual + other.actual)

    @property
    def dice(self) -> float | None:
        """2·TP / (predicted + actual); None where both are empty."""
        both = self.predicted + self.actual
        return 2 * self.true / both if both else None

    @property
    def jaccard(self) -> float | None:
        """TP / (predicted + actual − TP); None where both are empty."""
        union = self.predicted + self.actual - self.true
        return self.true / union if union else None

    @property
    def volume_difference(self) -> float | None:
        """``|predicted − actual| / actual``; None without truth."""
        return abs(self.predicted - self.actual) / self.actual if self.actual else None

    @property
    def sensitivity(self) -> float | None:
        """TP / actual; None without truth."""
        return self.true / self.actual if self.actual else None

    @property
    def precision(self) -> float | None:
        """TP / predicted; None for an empty mask."""
        return self.true / self.predicted if self.predicted else None


@dataclass(frozen=True)
class Counts:
    """A histogram without its empty bins, small enough to be kept for every case.

    Attributes:
        lowest: bit pattern of the lowest score of each bin, rising.
        positives: of each bin.
        negatives: of each bin.
    """

    lowest: NDArray[np.uint32]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    @classmethod
    def of(cls, histogram: VoxelHistogram) -> Counts:
        """Keep what a histogram holds."""
        used = used_bins(histogram.positives, histogram.negatives)
        return cls(
            used.astype(np.uint32) << histogram.shift, histogram.positives[used], histogram.negatives[used]
        )

    def above(self, threshold: float) -> Overlap:
        """Overlap of what lies above a threshold of 0 or more with the truth, to the width of a
        bin.
        """
        pattern = np.float32(threshold).view(np.uint32)
        flagged = slice(int(np.searchsorted(self.lowest, pattern, side="right")), None)
        true = int(self.positives[flagged].sum())
        return Overlap(true, true + int(self.negatives[flagged].sum()), int(self.positives.sum()))


class Residuals:
    """Mean score of normal and anomalous voxels (ℓ1-RE_N, ℓ1-RE_A) and how far their histograms are
    apart (χ²).

    Baur et al. 2021: for residual maps the mean score is the ℓ1 error. χ² = ½ Σ (p − q)² / (p + q)
    of the normalised histograms, in [0, 1], zero scores left out.

    Deviation: the study does not state its bins; ours are 16 a factor of two of the score, so no
    range has to be known.
    """

    BITS = 12

    def __init__(self) -> None:
        self.histogram = VoxelHistogram(self.BITS)
        self.sums = np.zeros(2)
        self.counts = np.zeros(2, dtype=np.int64)

    def add(self, scores: NDArray[np.float32], truth: NDArray[np.bool]) -> None:
        """Add a case's voxels."""
        for kind, chosen in enumerate((scores[~truth], scores[truth])):
            self.sums[kind] += chosen.sum(dtype=np.float64)
            self.counts[kind] += chosen.size
        self.histogram.add(scores, truth)

    def bins(self) -> dict[str, list[float]]:
        """Counts of ``normal`` and ``anomalous`` voxels by score, and the bins' lower ``edges``;
        bins that occur only.
        """
        used = used_bins(self.histogram.positives, self.histogram.negatives)
        edges = (used.astype(np.uint32) << self.histogram.shift).view(np.float32)
        return {
            "edges": edges.astype(float).tolist(),
            "normal": self.histogram.negatives[used].astype(float).tolist(),
            "anomalous": self.histogram.positives[used].astype(float).tolist(),
        }

    def summary(self) -> dict[str, float | None]:
        """``l1_normal``, ``l1_anomalous`` and ``chi2``."""
        normal, anomalous = (
            float(total / count) if count else None
            for total, count in zip(self.sums, self.counts, strict=True)
        )
        p, q = (bins[1:].astype(float) for bins in (self.histogram.negatives, self.histogram.positives))
        chi2 = None
        if p.sum() and q.sum():
            p, q = p / p.sum(), q / q.sum()
            both = p + q > 0
            chi2 = float(0.5 * ((p - q)[both] ** 2 / (p + q)[both]).sum())
        return {"l1_normal": normal, "l1_anomalous": anomalous, "chi2": chi2}
