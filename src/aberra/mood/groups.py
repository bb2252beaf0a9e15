"""One submission by kind of anomaly: categories, subclasses, and sweeps over size, contrast and
difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.metrics.case import auroc, fpr_at_tpr
from aberra.mood.counts import BINS, curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aberra.mood.truth import Truth

SWEPT = ("size_mm", "contrast", "difficulty", "radius_mm", "intensity")
"""Columns of numbers over which performance is followed."""

STEPS = 41
"""Up to so many values are points of a sweep of their own."""

PARTS = 5
"""Equally full bins of a column with more values."""

COLUMNS = ("kind", "name", "from", "to", "difficulty", "cases", "ap", "auroc", "fpr95", "median")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Anomalous cases of one kind.

    Attributes:
        kind: the column: ``category``, ``subclass`` or one of :data:`SWEPT`.
        name: its value, or the range.
        low: least value of a sweep's bin; None of a name.
        high: greatest.
        difficulty: mean of its cases; None where it is not known.
        cases: their names.
    """

    kind: str
    name: str
    low: float | None = None
    high: float | None = None
    difficulty: float | None = None
    cases: frozenset[str]


def groups_of(truths: Sequence[Truth]) -> list[Group]:
    """The groups that the columns of anomalous cases tell of; a subclass is named with its category.

    Raises:
        InputError: a value of a column of numbers is no number.
    """
    known = [truth for truth in truths if truth.label != 0]
    named: dict[tuple[str, str], list[Truth]] = {}
    for truth in known:
        category, subclass = truth.facts.get("category", ""), truth.facts.get("subclass", "")
        if category:
            named.setdefault(("category", category), []).append(truth)
        if subclass:
            whole = f"{category}: {subclass}" if category else subclass
            named.setdefault(("subclass", whole), []).append(truth)
    found = [
        Group(kind=kind, name=name, difficulty=_difficulty(members), cases=_names(members))
        for (kind, name), members in sorted(named.items())
    ]
    for column in SWEPT:
        values = [(number, truth) for truth in known if (number := _number(truth, column)) is not None]
        found += _bins(column, values)
    return found


def _bins(column: str, values: list[tuple[float, Truth]]) -> list[Group]:
    """A group a value, or a few equally full ones of many; none of a constant."""
    numbers = np.array([number for number, _ in values])
    steps = np.unique(numbers)
    if steps.size < 2:
        return []
    starts = steps
    if steps.size > STEPS:
        starts = np.unique(np.quantile(numbers, np.arange(PARTS) / PARTS, method="inverted_cdf"))
    place = np.searchsorted(starts, numbers, side="right") - 1
    found = []
    for index in np.unique(place):
        chosen = [pair for pair, own in zip(values, place, strict=True) if own == index]
        low, high = min(number for number, _ in chosen), max(number for number, _ in chosen)
        members = [truth for _, truth in chosen]
        name = f"{low:g}" if low == high else f"{low:.3g} to {high:.3g}"
        found.append(
            Group(
                kind=column, name=name, low=low, high=high, difficulty=_difficulty(members), cases=_names(members)
            )
        )  # fmt: skip
    return found


def _names(members: Sequence[Truth]) -> frozenset[str]:
    return frozenset(truth.case for truth in members)


def _number(truth: Truth, column: str) -> float | None:
    text = truth.facts.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise InputError(f"{truth.case}: {column} is '{text[:40]}'; expected a number or nothing")
    return value


def _difficulty(members: Sequence[Truth]) -> float | None:
    known = [value for truth in members if (value := _number(truth, "difficulty")) is not None]
    return float(np.mean(known)) if known else None


def _row(group: Group, **found: Any) -> dict[str, Any]:
    told = {"kind": group.kind, "name": group.name, "from": group.low, "to": group.high}
    return told | {"difficulty": group.difficulty, "fpr95": None} | found


def sample_rows(
    groups: Sequence[Group], scores: Mapping[str, float], labels: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Each group's cases against all healthy ones.

    AP is that of a 50/50 set: the healthy cases weigh as much as the group's together. The median is
    that of the share of healthy cases that score below a case, ties half.
    """
    from sklearn.metrics import average_precision_score

    healthy = np.sort([scores[case] for case, label in labels.items() if not label])
    rows = []
    for group in groups:
        own = np.array([scores[case] for case in sorted(group.cases) if labels[case]])
        if not own.size or not healthy.size:
            continue
        marks = np.repeat([True, False], [own.size, healthy.size])
        both = np.concatenate([own, healthy])
        weights = np.where(marks, 1 / own.size, 1 / healthy.size)
        below = [np.searchsorted(healthy, own, side=side) / healthy.size for side in ("left", "right")]
        rows.append(
            _row(
                group,
                cases=own.size,
                ap=float(average_precision_score(marks, both, sample_weight=weights)),
                auroc=auroc(both, marks),
                fpr95=fpr_at_tpr(both, marks),
                median=float(np.median(np.mean(below, axis=0))),
            )
        )
    return rows


class PixelGroups:
    """Counts of voxels by group, and of the healthy scans.

    Args:
        groups: what to tell apart.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.counts = np.zeros((len(groups), 2, BINS), dtype=np.int64)
        self.aps: list[list[float]] = [[] for _ in groups]
        self.healthy = np.zeros((2, BINS), dtype=np.int64)
        self.scans = 0

    def add(self, case: str, counts: NDArray[np.int64], ap: float | None) -> None:
        """Add a case's counts (2, BINS) and its own AP, None of a healthy one."""
        if ap is None:
            self.healthy += counts
            self.scans += 1
            return
        for index, group in enumerate(self.groups):
            if case in group.cases:
                self.counts[index] += counts
                self.aps[index].append(ap)

    def rows(self) -> list[dict[str, Any]]:
        """Each group's voxels against all healthy scans, which weigh as many scans as the group has;
        the median is that of the cases' own APs.
        """
        found = []
        for group, counts, aps in zip(self.groups, self.counts, self.aps, strict=True):
            if not aps:
                continue
            share = len(aps) / self.scans if self.scans else 0.0
            both = curve(counts + share * self.healthy)
            found.append(
                _row(group, cases=len(aps), ap=both.ap, auroc=both.auroc, median=float(np.median(aps)))
            )
        return found
