"""Case metrics: ranking scans, and whether p-values keep their promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

LEVELS = (0.01, 0.05, 0.10)
"""Nominal false-positive rates that are checked."""


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Probability that a diseased case scores above a healthy one, ties half; None without both."""
    from scipy.stats import rankdata

    values, marks = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    positive, negative = int(marks.sum()), int((~marks).sum())
    if not positive or not negative:
        return None
    ranks = rankdata(values)
    return float((ranks[marks].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Step-wise average precision; None without both classes."""
    from sklearn.metrics import average_precision_score

    marks = np.asarray(labels, dtype=bool)
    if not marks.any() or marks.all():
        return None
    return float(average_precision_score(marks, np.asarray(scores, dtype=float)))


def fpr_at_tpr(scores: ArrayLike, labels: ArrayLike, tpr: float = 0.95) -> float | None:
    """Share of healthy cases flagged when ``tpr`` of the diseased are (Zimmerer 2022, sample
    level); None without both.
    """
    values, marks = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    if not marks.any() or marks.all():
        return None
    return float((values[~marks] >= _reaching(values[marks], tpr)).mean())


def to_read(scores: ArrayLike, labels: ArrayLike, tpr: float = 0.95) -> float | None:
    """Share of all cases that have to be read, highest score first, until ``tpr`` of the diseased
    are among them (Zimmerer 2022: 0.475 + FPR / 2 where half of the cases are diseased and ``tpr``
    is 0.95); None without a diseased case.

    Examples:
        >>> from aberra.metrics.case import to_read
        >>> to_read([9, 7, 5, 3, 1], [1, 0, 1, 0, 0], tpr=1)
        0.6
    """
    values, marks = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    if not marks.any():
        return None
    return float((values >= _reaching(values[marks], tpr)).mean())


def _reaching(diseased: NDArray[np.float64], tpr: float) -> float:
    """The highest threshold that a share ``tpr`` of the diseased cases reach."""
    return float(np.sort(diseased)[::-1][int(np.ceil(tpr * diseased.size - 1e-9)) - 1])


def accuracy(told: ArrayLike, labels: ArrayLike) -> float | None:
    """Share of cases whose class is told; None without cases."""
    answers, marks = np.asarray(told, dtype=bool), np.asarray(labels, dtype=bool)
    return float((answers == marks).mean()) if marks.size else None


def cohens_kappa(told: ArrayLike, labels: ArrayLike) -> float | None:
    """Cohen 1960: (a − e) / (1 − e), a the share on which both agree and e that of two who tell as
    many of each class without looking; None where both tell one class alone.

    Args:
        told: classes, of any kind and number.
        labels: the same of somebody else.

    Examples:
        >>> from aberra.metrics.case import cohens_kappa
        >>> cohens_kappa([1, 1, 0, 0], [1, 0, 0, 0])
        0.5
    """
    answers, marks = np.asarray(told), np.asarray(labels)
    if not marks.size:
        return None
    agreed = float((answers == marks).mean())
    classes = np.unique(np.concatenate([answers, marks]))
    expected = sum(float((answers == each).mean()) * float((marks == each).mean()) for each in classes)
    return (agreed - expected) / (1 - expected) if expected < 1 - 1e-12 else None


def position_matched_auroc(
    scores: ArrayLike, labels: ArrayLike, positions: ArrayLike, *, strata: int = 10
) -> float | None:
    """AUROC over pairs from the same stratum of position only.

    Where lesions are says much about which slices have them; comparing slices of like position
    takes that away.

    Args:
        scores: one a slice.
        labels: 1 with a lesion.
        positions: relative place along the axis, in [0, 1].
        strata: how many.
    """
    values, marks = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    bins = np.minimum((np.asarray(positions, dtype=float) * strata).astype(int), strata - 1)
    won, pairs = 0.0, 0
    for stratum in np.unique(bins):
        inside = bins == stratum
        count = int(marks[inside].sum()) * int((~marks[inside]).sum())
        area = auroc(values[inside], marks[inside])
        if area is not None:
            won, pairs = won + area * count, pairs + count
    return won / pairs if pairs else None


def resolved(level: float, calibrated: int) -> bool:
    """Whether p-values of so many calibration cases can be as small as ``level``: the smallest is 1
    / (n + 1).
    """
    return (calibrated + 1) * level >= 1 - 1e-9


def realised_fpr(
    p_values: Sequence[float], calibrated: int, levels: Sequence[float] = LEVELS
) -> list[dict[str, Any]]:
    """Nominal against realised false-positive rate on healthy cases.

    Args:
        p_values: conformal, one a healthy case.
        calibrated: calibration cases behind them. A level that they cannot resolve is left out:
            nothing could ever be flagged at it, so that a rate of 0 would say nothing.
        levels: nominal rates.

    Returns:
        For each level the rate, its Clopper–Pearson 95 % interval, the range in which 95 % of
        Binomial(n, level) lie and whether the rate is inside it or below (below is what conformal
        p-values of coarse resolution give).
    """
    from scipy.stats import beta, binom

    n = len(p_values)
    rows = []
    for level in (level for level in levels if resolved(level, calibrated)):
        flagged = sum(p <= level + 1e-12 for p in p_values)
        low = float(beta.ppf(0.025, flagged, n - flagged + 1)) if flagged else 0.0
        high = float(beta.ppf(0.975, flagged + 1, n - flagged)) if flagged < n else 1.0
        expected = [int(value) / n for value in binom.interval(0.95, n, level)]
        rows.append(
            {
                "nominal": level,
                "realised": flagged / n,
                "flagged": flagged,
                "n": n,
                "interval": [low, high],
                "expected": expected,
                "within": expected[0] <= flagged / n <= expected[1],
                "not_above": flagged / n <= expected[1],
            }
        )
    return rows
