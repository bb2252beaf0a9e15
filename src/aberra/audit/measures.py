"""Numbers of an audit: which score sees lesions, which sees shifts, and how far the two are one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.case import auroc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

REFERENCE = "reference"
"""Name of the cohort that others are held against."""

NEIGHBOURS = 10
"""Healthy scans of the most similar scanner that a case is ranked among."""

PRIOR = 2.0
"""Scans that the whole of the healthy ones count for beside the nearest ones."""

SCORES = ("score", "adjusted", "shift")
"""Of a case: the detector's, the same among healthy scans of a similar scanner, the shift."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A case of an audit.

    Attributes:
        case: its name.
        cohort: :data:`REFERENCE`, or the name of a tested one.
        lesion: whether it has one; None where nobody said.
        score: the detector's case score.
        p: p-value of the score among the reference.
        adjusted: the score in standard deviations of healthy scans of a similar scanner
            (:func:`adjusted`).
        shift: distance from the reference's scanner (:class:`aberra.audit.shift.ShiftScore`).
        shift_p: its p-value.
        trusted: whether that is above the level.
        reasons: features that depart most; empty of trusted cases.
        adapted: whether the case was given to adapt to the cohort, so that no number of the cohort
            counts it.
    """

    case: str
    cohort: str
    lesion: bool | None
    score: float
    p: float
    adjusted: float
    shift: float
    shift_p: float
    trusted: bool
    reasons: tuple[str, ...] = ()
    adapted: bool = False

    def to_json(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return asdict(self) | {"reasons": list(self.reasons)}


def adjusted(score: float, nearest: ArrayLike, everything: ArrayLike) -> float:
    """A score in standard deviations from the mean of the nearest healthy ones.

    Mean and variance of few scans are drawn towards those of all, which count as
    :data:`PRIOR` scans: ``m = (k·m_k + 2·m) / (k + 2)``, and so for the variance around m.

    Args:
        score: of the case.
        nearest: scores of the k healthy scans whose scanner is most like the case's.
        everything: scores of all healthy scans.

    Examples:
        >>> from aberra.audit.measures import adjusted
        >>> healthy = [1.0, 2.0, 3.0]
        >>> abs(adjusted(2.0, healthy, healthy)) < 1e-9, adjusted(9.0, healthy, healthy) > 5
        (True, True)
    """
    near, whole = np.asarray(nearest, dtype=float), np.asarray(everything, dtype=float)
    share = len(near) / (len(near) + PRIOR)
    mean = share * near.mean() + (1 - share) * whole.mean()
    variance = share * near.var() + (1 - share) * whole.var()
    return float((score - mean) / max(variance**0.5, 1e-9 + 1e-6 * abs(mean)))


def entanglement(lesion: float | None, shift: float | None) -> float | None:
    """How much of what a score sees is scanner: ``s / (s + l)`` with ``s = |2·A_shift − 1|``,
    ``l = max(2·A_lesion − 1, 0)``.

    0: the score does not move with the scanner; 0.5: as much as with lesions; 1: it tells scanners
    and not lesions. None where it tells neither, or an AUROC is unknown.

    Args:
        lesion: AUROC of lesional against healthy cases of one scanner.
        shift: AUROC of healthy cases of the other scanner against healthy ones of the reference.

    Examples:
        >>> from aberra.audit.measures import entanglement
        >>> entanglement(1.0, 0.5), entanglement(0.9, 0.1), entanglement(0.5, 0.8)
        (0.0, 0.5, 1.0)
    """
    if lesion is None or shift is None:
        return None
    by_shift, by_lesion = abs(2 * shift - 1), max(2 * lesion - 1, 0.0)
    return round(by_shift / (by_shift + by_lesion), 6) if by_shift + by_lesion > 1e-6 else None


def summary(rows: Sequence[Row], *, level: float) -> list[dict[str, Any]]:
    """A row for each cohort and score.

    ``within``: AUROC of lesional against healthy cases of the cohort. ``across``: of the lesional
    cases of all cohorts against the healthy ones of this cohort and the reference, so that a shift
    counts as error; lesional cases of the reference's own scanner are then best a cohort, too.
    ``false_alarm``: AUROC of the cohort's healthy cases against the reference's, .5 is ideal of a
    lesion score and 1 of a shift score; ``lesional_shift``: the same of its lesional cases.
    ``entanglement``: of ``within`` and ``false_alarm`` (of a shift score the roles are exchanged
    by the reader). ``abstained``: share of cases that are not trusted, and ``flagged`` the share of
    the healthy trusted ones whose p-value is at most ``level``.
    """
    counted = [row for row in rows if not row.adapted]
    usual = [row for row in counted if row.cohort == REFERENCE and row.lesion is False]
    lesional = [row for row in counted if row.lesion]
    names = dict.fromkeys(row.cohort for row in counted)
    found = []
    for cohort in names:
        cases = [row for row in counted if row.cohort == cohort]
        healthy = [row for row in cases if row.lesion is False]
        sick = [row for row in cases if row.lesion]
        trusted = [row for row in healthy if row.trusted]
        for score in SCORES:
            within = _area(score, sick, healthy)
            own = cohort == REFERENCE
            alarm = None if own else _area(score, healthy, usual)
            found.append(
                {
                    "cohort": cohort,
                    "score": score,
                    "healthy": len(healthy),
                    "lesional": len(sick),
                    "unlabelled": len(cases) - len(healthy) - len(sick),
                    "within": within,
                    "across": None if own else _area(score, lesional, [*healthy, *usual]),
                    "false_alarm": alarm,
                    "lesional_shift": None if own else _area(score, sick, usual),
                    "entanglement": entanglement(within, alarm),
                    "abstained": _share(not row.trusted for row in cases),
                    "flagged": _share(row.p <= level for row in trusted) if score == "score" else None,
                }
            )  # fmt: skip
    return found


def _area(score: str, positive: Sequence[Row], negative: Sequence[Row]) -> float | None:
    values = [getattr(row, score) for row in (*positive, *negative)]
    found = auroc(values, [1] * len(positive) + [0] * len(negative))
    return None if found is None else round(found, 4)


def _share(marks: Any) -> float | None:
    known = list(marks)
    return round(sum(known) / len(known), 4) if known else None
