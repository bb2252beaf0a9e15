"""What the score of a slice ranks: lesions, or the people who have them.

Slices are of three kinds: with a lesion (L), free of it in a scan that has one (F), and of healthy
scans (H). *Slice-wise*, L is told from the rest; *clinically*, where only the scan is labelled, L and
F are told from H (Venkatakrishnan 2020, section 5.2). Both are mixtures of three areas: a (L against
F), b (L against H) and c (F against H). A score that says "this is a patient" has a high c and a of
one half, and does well clinically without having seen a lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import ConfigError
from aberra.metrics.case import auroc, average_precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

REDUCTIONS: dict[str, Callable[[NDArray[np.float64]], np.floating[Any]]] = {"max": np.max, "mean": np.mean}
"""How the slices of a scan become one score."""


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """How many slices there are of each kind.

    Attributes:
        lesion: with a lesion (L).
        free: without, in scans with one (F).
        healthy: of healthy scans (H).

    Examples:
        >>> from aberra.metrics.regimes import Kinds
        >>> kinds = Kinds(lesion=3505, free=3315, healthy=4805)  # the thesis' test set
        >>> [round(each, 3) for each in kinds.mixed(a=0.5, b=1.0, c=1.0)]
        [0.796, 1.0]
        >>> round(kinds.bounds(0.783, 0.822)["c"][0], 3)  # its multi-task model
        0.634
    """

    lesion: int
    free: int
    healthy: int

    def mixed(self, *, a: float, b: float, c: float) -> tuple[float, float]:
        """The slice-wise and the clinical AUROC that three areas make: (F·a + H·b) / (F + H) and
        (L·b + F·c) / (L + F), with F, H and L the numbers of slices.

        A pair of an ill and a well slice is of one kind, so this holds exactly, ties included.
        """
        return (
            (self.free * a + self.healthy * b) / (self.free + self.healthy),
            (self.lesion * b + self.free * c) / (self.lesion + self.free),
        )

    def bounds(self, slice_wise: float, clinical: float) -> dict[str, tuple[float, float]]:
        """Least and greatest a, b and c that two published AUROCs leave.

        Raises:
            ConfigError: no areas give these AUROCs, or there is no slice of one kind.
        """
        if not (self.lesion and self.free and self.healthy):
            raise ConfigError(f"{self}: expected slices of all three kinds")
        wins, clinical_wins = slice_wise * (self.free + self.healthy), clinical * (self.lesion + self.free)
        ends = [
            (0.0, 1.0),
            ((wins - self.free) / self.healthy, wins / self.healthy),
            ((clinical_wins - self.free) / self.lesion, clinical_wins / self.lesion),
        ]
        low, high = max(low for low, _ in ends), min(high for _, high in ends)
        if low > high:
            raise ConfigError(
                f"slice-wise {slice_wise:g} and clinical {clinical:g}: no three areas give both with {self}"
            )
        return {
            "a": ((wins - self.healthy * high) / self.free, (wins - self.healthy * low) / self.free),
            "b": (low, high),
            "c": (
                (clinical_wins - self.lesion * high) / self.free,
                (clinical_wins - self.lesion * low) / self.free,
            ),
        }


def kinds_of(lesion: ArrayLike, ill: ArrayLike) -> Kinds:
    """Count slices: whether each has a lesion, and whether its scan has one."""
    marks, sick = np.asarray(lesion, dtype=bool), np.asarray(ill, dtype=bool) | np.asarray(lesion, dtype=bool)
    return Kinds(lesion=int(marks.sum()), free=int((sick & ~marks).sum()), healthy=int((~sick).sum()))


def areas(scores: ArrayLike, lesion: ArrayLike, ill: ArrayLike) -> dict[str, float | None]:
    """AUROC and AP of both regimes, and the areas that they are made of.

    Args:
        scores: of slices, shape (N,).
        lesion: whether each has a lesion.
        ill: whether its scan has one.

    Returns:
        ``slice_auroc``, ``slice_ap``, ``clinical_auroc``, ``clinical_ap``, ``a``, ``b``, ``c``; None
        where there is nothing to compare.
    """
    values, marks = np.asarray(scores, dtype=float), np.asarray(lesion, dtype=bool)
    sick = np.asarray(ill, dtype=bool) | marks
    free, healthy = sick & ~marks, ~sick
    return {
        "slice_auroc": auroc(values, marks),
        "slice_ap": average_precision(values, marks),
        "clinical_auroc": auroc(values, sick),
        "clinical_ap": average_precision(values, sick),
        "a": auroc(values[sick], marks[sick]),
        "b": auroc(values[marks | healthy], marks[marks | healthy]),
        "c": auroc(values[free | healthy], free[free | healthy]),
    }


def per_scan(scores: ArrayLike, scans: ArrayLike, *, reduce: str = "max") -> NDArray[np.float64]:
    """One score a scan, in the order of their numbers, shape (M,).

    Args:
        scores: of slices, shape (N,).
        scans: number of each slice's scan.
        reduce: ``max`` or ``mean`` of its slices.
    """
    values, numbers = np.asarray(scores, dtype=float), np.asarray(scans)
    return np.array([float(REDUCTIONS[reduce](values[numbers == name])) for name in np.unique(numbers)])
