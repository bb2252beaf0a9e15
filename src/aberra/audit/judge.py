"""From what was measured of each case to what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aberra.audit.measures import NEIGHBOURS, REFERENCE, Row, adjusted
from aberra.detector.calibration import conformal_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.audit.shift import ShiftScore


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What was measured of one case.

    Attributes:
        case: its name.
        cohort: that it is of; :data:`aberra.audit.measures.REFERENCE`, or another.
        lesion: whether it has one; None where nobody said.
        score: the detector's case score.
        features: of the scan, shape (F,).
        code: the model's code of the scan, shape (K,); None of models without.
        adapted: whether it is one of the healthy cases that the cohort's others are held against.
    """

    case: str
    cohort: str
    lesion: bool | None
    score: float
    features: NDArray[np.float64]
    code: NDArray[np.float64] | None = None
    adapted: bool = False


def judge(
    seen: Sequence[Seen], shift: ShiftScore, *, level: float, neighbours: int = NEIGHBOURS
) -> list[Row]:
    """Say of each case how far its scanner is from the reference's, and how odd it is among healthy
    scans of a similar scanner: the reference's, and those given to adapt to its own cohort.

    A case of the reference is held against the others; its shift score is the one that leaves it
    out, too.

    Args:
        seen: the cases.
        shift: learnt from those of the reference, in their order.
        level: p-value of the shift at which a case is not trusted.
        neighbours: healthy scans that a score is held against.
    """
    own = [index for index, each in enumerate(seen) if each.cohort == REFERENCE]
    rows = []
    for index, each in enumerate(seen):
        others = [other for other in own if other != index]
        given = [
            other
            for other, one in enumerate(seen)
            if one.adapted and one.cohort == each.cohort and other != index
        ]
        pool = others + given
        near = shift.nearest(each.features, np.stack([seen[other].features for other in pool]), neighbours)
        scores = np.array([seen[other].score for other in pool])
        if index in own:
            distance = shift.without(own.index(index))
            # itself is among the scores that it is ranked by
            p = conformal_p(np.delete(shift.each, own.index(index)), distance)
        else:
            distance = shift(each.features)
            p = shift.p_value(distance)
        trusted = p > level
        rows.append(
            Row(
                case=each.case,
                cohort=each.cohort,
                lesion=each.lesion,
                score=each.score,
                p=conformal_p([seen[other].score for other in others], each.score),
                adjusted=adjusted(each.score, scores[near], scores),
                shift=distance,
                shift_p=p,
                trusted=trusted,
                reasons=() if trusted else shift.reasons(each.features),
                adapted=each.adapted,
            )
        )
    return rows
