"""Do probabilities keep their promise, and does the uncertainty know where the errors are?

In one pass over the cases.

The thesis of Wolleb 2022 compares uncertainty maps by eye and asks for a quantitative comparison;
these are the usual ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.bootstrap import with_intervals
from aberra.metrics.voxel import VoxelHistogram, used_bins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

BINS = 15
"""Equal-width bins of ECE, as in Guo et al. 2017."""

BITS = 18
"""Resolution of uncertainties: 0.1 % of the value."""

REJECTED = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of the voxels, most uncertain first, without which Dice is computed."""

REMOVED = np.concatenate([[0.0], np.geomspace(1e-4, 0.99, 80)])
"""Shares at which the sparsification curve is drawn."""


class Reliability:
    """Probabilities against what came true, voxel by voxel.

    ECE (Naeini et al. 2015; Guo et al. 2017): ``Σ_b (n_b / n)·|mean(y) − mean(p)|`` over 15
    equal-width bins of p. Brier score (1950): mean of (p − y)². p is the lesion's probability, not
    that of the likelier class, and all voxels of the region count, so that both are small where
    lesions are: compare methods, not studies.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.uncertainty import Reliability
        >>> reliability = Reliability()
        >>> reliability.add("p01", np.float32([0, 0, 1, 1]), np.array([False, False, True, False]))
        >>> reliability.summary(replicates=10, seed=0)["brier"]
        0.25
    """

    def __init__(self) -> None:
        self.cases: list[NDArray[np.float64]] = []
        self.patients: list[str] = []

    def add(self, patient: str, p: NDArray[np.float32], truth: NDArray[np.bool]) -> None:
        """Add voxels of a case: probabilities and truth, any equal shape."""
        self.cases.append(reliability_bins(p, truth))
        self.patients.append(patient)

    def summary(self, *, replicates: int, seed: int) -> dict[str, Any]:
        """``ece`` and ``brier`` with intervals over patients, and of each bin its voxels, mean
        probability and share of lesion.
        """
        if not self.cases:
            return {}
        cases = np.stack(self.cases)
        statistics: Mapping[str, Callable[[NDArray[np.int64]], float | None]] = {
            "ece": lambda drawn: ece(cases[drawn].sum(axis=0)),
            "brier": lambda drawn: brier(cases[drawn].sum(axis=0)),
        }
        found = with_intervals(statistics, self.patients, replicates=replicates, seed=seed)
        voxels, told, true, _ = cases.sum(axis=0)
        filled = voxels > 0
        found["bins"] = {
            "voxels": voxels[filled].tolist(),
            "probability": (told[filled] / voxels[filled]).tolist(),
            "lesion": (true[filled] / voxels[filled]).tolist(),
        }
        return found


def reliability_bins(p: NDArray[np.floating], truth: NDArray[np.bool]) -> NDArray[np.float64]:
    """Count probabilities and what came true, any equal shape, into the table of :func:`ece`."""
    values = np.asarray(p, dtype=np.float64).ravel()
    marks = np.asarray(truth).ravel()
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    weights = (None, values, marks.astype(float), (values - marks) ** 2)
    return np.stack([np.bincount(bins, each, minlength=BINS) for each in weights])


def ece(bins: NDArray[np.float64]) -> float | None:
    """ECE of a table of bins: rows voxels, sum of p, sum of y, sum of (p − y)²; None without
    voxels.
    """
    voxels, told, true, _ = bins
    return float(np.abs(told - true).sum() / voxels.sum()) if voxels.sum() else None


def brier(bins: NDArray[np.float64]) -> float | None:
    """Brier score of the same table."""
    return float(bins[3].sum() / bins[0].sum()) if bins[0].sum() else None


class UncertaintyQuality:
    """Is the uncertainty high where the mask is wrong?

    - ``correlation``: point-biserial (Pearson's r of the uncertainty and the error, 0 or 1, of a
      voxel).
    - Sparsification (Ilg et al. 2018): the share of wrong voxels that is left when the most
      uncertain share f of all voxels is taken away, against the oracle that takes the wrong ones
      first. ``ause`` is the area between both over f in [0, 1), divided by the error at f = 0: 0 is
      the oracle. ``ause_random`` is what an uncertainty that knows nothing gets.
    - Dice of the mask on the voxels that are left, over the rejected share.

    Voxels of equal uncertainty go in random order: what is counted is the expectation over it.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.uncertainty import UncertaintyQuality
        >>> quality = UncertaintyQuality()
        >>> mask, truth = np.array([True, True, False]), np.array([True, False, False])
        >>> quality.add("p01", np.float32([0.1, 0.9, 0.1]), mask, truth)
        >>> bool(quality.summary(replicates=10, seed=0)["ause"] < 1e-9)  # wrong where unsure
        True
    """

    def __init__(self) -> None:
        # of the voxels in the mask and of those outside it: true (positives) and false (negatives)
        # by uncertainty
        self.found, self.left = VoxelHistogram(BITS), VoxelHistogram(BITS)
        self.sums: list[NDArray[np.float64]] = []
        self.patients: list[str] = []

    def add(
        self,
        patient: str,
        uncertainty: NDArray[np.float32],
        mask: NDArray[np.bool],
        truth: NDArray[np.bool],
    ) -> None:
        """Add voxels of a case, any equal shape; the uncertainty is non-negative."""
        self.found.add(uncertainty[mask], truth[mask])
        self.left.add(uncertainty[~mask], truth[~mask])
        u, e = np.asarray(uncertainty, dtype=np.float64).ravel(), (mask != truth).ravel()
        self.sums.append(np.array([u.size, u.sum(), (u**2).sum(), e.sum(), (u * e).sum()], dtype=np.float64))
        self.patients.append(patient)

    def summary(self, *, replicates: int, seed: int) -> dict[str, Any]:
        """``correlation`` with its interval over patients, ``ause``, ``ause_random``, both curves
        and Dice by rejected share.
        """
        if not self.sums:
            return {}
        sums = np.stack(self.sums)
        statistics: Mapping[str, Callable[[NDArray[np.int64]], float | None]] = {
            "correlation": lambda drawn: point_biserial(sums[drawn].sum(axis=0))
        }
        counts = self._counts()
        gone, wrong = _steps(counts.sum(axis=1)), _steps(counts[:, 1] + counts[:, 2])
        total, error = gone[-1], wrong[-1] / max(gone[-1], 1)
        removed, left = gone / max(total, 1), (wrong[-1] - wrong) / max(total, 1)
        ideal = error + (1 - error) * np.log1p(-error) if error < 1 else 1.0
        return {
            **with_intervals(statistics, self.patients, replicates=replicates, seed=seed),
            "error": float(error),
            "ause": float((area(removed, left) - ideal) / error) if error else None,
            "ause_random": float((error - ideal) / error) if error else None,
            "sparsification": {
                "rejected": REMOVED.tolist(),
                "error": (np.interp(REMOVED, removed, left) / (1 - REMOVED)).tolist(),
                "oracle": (np.maximum(error - REMOVED, 0) / (1 - REMOVED)).tolist(),
            },
            "dice_rejected": _dice(counts),
        }

    def _counts(self) -> NDArray[np.float64]:
        """Bins by falling uncertainty, each with its true positives, false positives, false
        negatives and true negatives, (N, 4).
        """
        parts = [self.found.positives, self.found.negatives, self.left.positives, self.left.negatives]
        used = used_bins(parts[0] + parts[2], parts[1] + parts[3])[::-1]
        return np.stack([part[used] for part in parts], axis=1).astype(np.float64)


def point_biserial(sums: NDArray[np.float64]) -> float | None:
    """Pearson's r of u and e in {0, 1} from n, Σu, Σu², Σe and Σue; None where either does not
    vary.
    """
    n, u, square, e, both = sums
    spread = (n * square - u**2) * (n * e - e**2)
    return float((n * both - u * e) / np.sqrt(spread)) if spread > 0 else None


def area(removed: NDArray[np.float64], left: NDArray[np.float64]) -> float:
    """∫ left(f) / (1 − f) df over [0, 1), exactly, ``left`` being linear between its knots
    ``removed`` (0 to 1) and 0 at the last.
    """
    width = np.diff(removed)
    slope = -np.diff(left) / np.where(width > 0, width, 1)
    kept = 1 - removed
    inside = kept[1:] > 1e-12
    logs = np.log(np.where(inside, kept[:-1] / np.where(inside, kept[1:], 1), 1))
    # left = a − b·f: the integrand is (a − b)/(1 − f) + b, and a = b where it ends in nothing
    level = left[:-1] - slope * kept[:-1]
    return float((level * logs + slope * width).sum())


def _steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running sum from 0."""
    return np.concatenate([[0.0], values.cumsum()])


def _dice(counts: NDArray[np.float64]) -> list[dict[str, float | None]]:
    """Dice of what is left at each rejected share; None where neither mask nor truth is."""
    gone = _steps(counts.sum(axis=1))
    rows: list[dict[str, float | None]] = []
    for share in REJECTED:
        hit, false, missed = (
            np.interp(share * gone[-1], gone, counts[:, kind].sum() - _steps(counts[:, kind]))
            for kind in range(3)
        )
        both = 2 * hit + false + missed
        rows.append({"rejected": share, "dice": float(2 * hit / both) if both > 0 else None})
    return rows
