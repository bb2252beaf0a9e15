"""Readers' grades into numbers: what was found, what the rest is, and how far readers agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.grades import GRADES, HITS, MEDICAL, MISSED
from aberra.metrics.bootstrap import with_intervals
from aberra.metrics.case import cohens_kappa, fpr_at_tpr, to_read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aberra.grades import Grade, Key

Counted = tuple[str, int, str]
"""Case, object and grade of what is counted once: an object, or a missed finding."""


def by_grade(graded: Sequence[Counted]) -> list[dict[str, Any]]:
    """How many objects have each grade, and of findings how many no object lies on.

    Returns:
        One row a grade: ``grade``, ``meaning``, ``objects``, ``missed``, ``share`` (of the graded
        objects) and ``found`` (share of findings of that visibility that an object lies on; None of
        other grades).
    """
    objects = sum(number != MISSED for _, number, _ in graded)
    rows = []
    for grade, meaning in GRADES.items():
        own = [number for _, number, given in graded if given == grade]
        seen = sum(number != MISSED for number in own)
        rows.append(
            {
                "grade": grade,
                "meaning": meaning,
                "objects": seen,
                "missed": len(own) - seen,
                "share": seen / objects if objects else None,
                "found": seen / len(own) if own and grade in HITS else None,
            }
        )
    return rows


def rates(
    graded: Sequence[Counted], patient_of: Mapping[str, str], *, n_boot: int, seed: int
) -> dict[str, Any]:
    """Sensitivity, precision and share of medical findings of the graded objects, with 95 %
    intervals over patients.

    Sensitivity is the share of all findings (C1–C3) that an object lies on, the others being those
    that readers have added; precision the share of graded objects that are such a finding; medical
    also counts other conditions. A finding with two objects counts as two.

    Args:
        graded: what is counted.
        patient_of: the patient of each case that was read or cut, graded or not.
        n_boot: replicates.
        seed: of the bootstrap.
    """
    cases = {case: index for index, case in enumerate(patient_of)}
    counts = np.zeros((len(cases), 4), dtype=np.int64)
    for case, number, grade in graded:
        hit, object_ = grade in HITS, number != MISSED
        counts[cases[case]] += (hit and object_, hit, object_, object_ and grade in MEDICAL)
    found, findings, objects, medical = range(4)
    return with_intervals(
        {
            "sensitivity": _share(counts, found, findings),
            "precision": _share(counts, found, objects),
            "medical": _share(counts, medical, objects),
        },
        list(patient_of.values()),
        replicates=n_boot,
        seed=seed,
    )


def _share(counts: NDArray[np.int64], part: int, whole: int) -> Callable[[NDArray[np.int64]], float | None]:
    """Ratio of two columns' sums over the cases drawn; None where there is nothing to share."""

    def share(drawn: NDArray[np.int64]) -> float | None:
        total = counts[drawn, whole].sum()
        return float(counts[drawn, part].sum() / total) if total else None

    return share


def agreement(
    one: Mapping[Key, Grade],
    other: Mapping[Key, Grade],
    patient_of: Mapping[str, str],
    *,
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    """How far two readers agree on the objects that both have graded: the share of equal grades,
    Cohen's κ of the grades and κ of whether it is a finding, with 95 % intervals over patients.
    """
    keys = sorted(key[:2] for key in one.keys() & other.keys() if key[1] != MISSED)
    said = np.array([[of[case, number, None].grade for of in (one, other)] for case, number in keys])
    a, b = said.reshape(-1, 2).T
    hits = np.isin(a, HITS), np.isin(b, HITS)
    statistics: dict[str, Callable[[NDArray[np.int64]], float | None]] = {
        "agreed": lambda drawn: float((a[drawn] == b[drawn]).mean()) if drawn.size else None,
        "kappa": lambda drawn: cohens_kappa(a[drawn], b[drawn]),
        "kappa_finding": lambda drawn: cohens_kappa(hits[0][drawn], hits[1][drawn]),
    }
    patients = [patient_of[case] for case, _ in keys]
    return {"objects": len(keys)} | with_intervals(statistics, patients, replicates=n_boot, seed=seed)


def reading(
    scores: ArrayLike,
    positive: ArrayLike,
    patients: Sequence[str],
    sensitivity: float,
    *,
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    """What is saved by reading only the cases that score highest, where so much of the cases with a
    finding are to be among them: ``false_positive_rate``, ``to_read`` and ``saved``, shares, with
    95 % intervals over patients; None where no case, or every case, has a finding.
    """
    values, marks = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)

    def share(drawn: NDArray[np.int64]) -> float | None:
        return None if marks[drawn].all() else to_read(values[drawn], marks[drawn], sensitivity)

    def saved(drawn: NDArray[np.int64]) -> float | None:
        read = share(drawn)
        return None if read is None else 1 - read

    statistics: dict[str, Callable[[NDArray[np.int64]], float | None]] = {
        "false_positive_rate": lambda drawn: fpr_at_tpr(values[drawn], marks[drawn], sensitivity),
        "to_read": share,
        "saved": saved,
    }
    counts = {"sensitivity": sensitivity, "with": int(marks.sum()), "without": int((~marks).sum())}
    return counts | with_intervals(statistics, patients, replicates=n_boot, seed=seed)
