"""Case metrics: ranking scans, and whether p-values keep their promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

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
    sick = np.sort(values[marks])[::-1]
    threshold = sick[int(np.ceil(tpr * sick.size)) - 1]
    return float((values[~marks] >= threshold).mean())


def accuracy(told: ArrayLike, labels: ArrayLike) -> float | None:
    """Share of cases whose class is told; None without cases."""
    answers, marks = np.asarray(told, dtype=bool), np.asarray(labels, dtype=bool)
    return float((answers == marks).mean()) if marks.size else None


def cohens_kappa(told: ArrayLike, labels: ArrayLike) -> float | None:
    """Cohen 1960: (a − e) / (1 − e), a the accuracy and e that of somebody who tells as many
    diseased without looking; None where both tell one class alone.

    Examples:
        >>> from aberra.metrics.case import cohens_kappa
        >>> cohens_kappa([1, 1, 0, 0], [1, 0, 0, 0])
        0.5
    """
    answers, marks = np.asarray(told, dtype=bool), np.asarray(labels, dtype=bool)
    agreed = accuracy(answers, marks)
    if agreed is None:
        return None
    a, b = float(answers.mean()), float(marks.mean())
    expected = a * b + (1 - a) * (1 - b)
    return (agreed - expected) / (1 - expected) if expected < 1 else None


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
