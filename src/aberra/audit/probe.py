"""How well the site of a scan can be told from its numbers, and how far it goes with the class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.foreground import region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

FOLDS = 5
FEWEST = 2
"""Patients of a site below which it is left out of the probe."""

BINS = 40
RANGE = (0.5, 99.5)
"""Percentiles of a channel that its histogram is drawn between."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How well a site is told.

    Attributes:
        accuracy: balanced, mean over the sites, of cases whose patient the probe had not seen.
        chance: of whoever tells sites without looking, one over their number.
        p: share of probes of permuted sites that are as accurate, at least 1 / (permutations + 1).
        told: case to the site that was told.
    """

    accuracy: float
    chance: float
    p: float
    told: dict[str, str]


def intensities(volume: Volume) -> list[NDArray[np.float64]]:
    """Quantiles 1 % to 99 % of the foreground of each channel, shape (99,)."""
    inside = region(volume)
    if not inside.any():
        inside = np.ones(volume.shape, dtype=bool)
    return [np.percentile(channel[inside], np.arange(1, 100)) for channel in volume.data.astype(np.float64)]


def histogram(
    quantiles: NDArray[np.float64], low: float, high: float, bins: int = BINS
) -> NDArray[np.float64]:
    """Share of the foreground in each of ``bins`` between ``low`` and ``high``, from its quantiles
    (99,): the slope of their linear interpolation.

    Examples:
        >>> import numpy as np
        >>> from aberra.audit.probe import histogram
        >>> histogram(np.arange(1.0, 100.0), 1.0, 99.0, bins=2).round(3)
        array([0.5, 0.5])
    """
    edges = np.linspace(low, high, bins + 1)
    # equal quantiles are a step, which interpolation cannot have
    rising = quantiles + np.arange(len(quantiles)) * 1e-9 * max(high - low, 1e-9)
    shares = np.interp(edges, rising, np.linspace(0, 1, len(quantiles)), left=0.0, right=1.0)
    return np.asarray(np.diff(shares))


def probe(
    values: NDArray[np.float64],
    sites: Sequence[str],
    patients: Sequence[str],
    cases: Sequence[str],
    *,
    permutations: int,
    seed: int = 0,
) -> Probe | None:
    """Tell the sites of cases by logistic regression, each patient by the others, in five folds (or
    as many as the smallest site has patients).

    Args:
        values: what is known of each case, (N, F); standardised by what each fold learns from.
        sites: of the cases, N.
        patients: of the cases; all cases of one are told together.
        cases: names.
        permutations: of the sites among the patients, for the p-value.
        seed: of folds and permutations.

    Returns:
        None with fewer than two sites of two patients or more.
    """
    of_patient = dict(zip(patients, sites, strict=True))
    counts = Counter(of_patient.values())
    kept = np.array([counts[site] >= FEWEST for site in sites])
    if len({site for site, keep in zip(sites, kept, strict=True) if keep}) < 2:
        return None
    x = np.asarray(values, dtype=np.float64)[kept]
    who, where, named = (
        np.asarray(each, dtype=object)[kept].astype(str) for each in (patients, sites, cases)
    )
    folds = min(FOLDS, *(count for count in counts.values() if count >= FEWEST))
    told = _told(x, where, who, folds, seed)
    accuracy = balanced(told, where)
    people = np.unique(who)
    rng = np.random.default_rng([seed, 7])
    as_good = 0
    for _ in range(permutations):
        swapped = dict(zip(people, rng.permutation([of_patient[each] for each in people]), strict=True))
        moved = np.array([swapped[each] for each in who])
        as_good += balanced(_told(x, moved, who, folds, seed), moved) >= accuracy - 1e-12
    return Probe(
        accuracy=accuracy,
        chance=1 / len(np.unique(where)),
        p=(1 + as_good) / (1 + permutations),
        told=dict(zip(named.tolist(), told.tolist(), strict=True)),
    )


def _told(
    x: NDArray[np.float64], sites: NDArray[np.str_], patients: NDArray[np.str_], folds: int, seed: int
) -> NDArray[np.str_]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    told = sites.copy()
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in split.split(x, sites, patients):
        if len(np.unique(sites[train])) < 2:
            told[test] = sites[train][0]
            continue
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced")
        )
        told[test] = model.fit(x[train], sites[train]).predict(x[test])
    return told


def balanced(told: NDArray[np.str_], true: NDArray[np.str_]) -> float:
    """Mean over the sites of the share of its cases that are told.

    Examples:
        >>> import numpy as np
        >>> from aberra.audit.probe import balanced
        >>> balanced(np.array(["a", "a", "a"]), np.array(["a", "a", "b"]))
        0.5
    """
    return float(np.mean([(told[true == site] == site).mean() for site in np.unique(true)]))


def cramers_v(table: NDArray[np.int64]) -> float | None:
    """Cramér 1946: √(χ² / (n·(min(rows, columns) − 1))), 0 where rows say nothing of columns, 1
    where they say all; None with fewer than two rows or columns that have anything.

    Examples:
        >>> import numpy as np
        >>> from aberra.audit.probe import cramers_v
        >>> cramers_v(np.array([[5, 0], [0, 7]])), cramers_v(np.array([[2, 4], [1, 2]]))
        (1.0, 0.0)
    """
    counts = table[table.any(axis=1)][:, table.any(axis=0)].astype(np.float64)
    if min(counts.shape, default=0) < 2:
        return None
    n = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    return round(float(np.sqrt(chi_squared / (n * (min(counts.shape) - 1)))), 12)


def expect_sites(sites: Sequence[str], source: object, column: str) -> None:
    """Refuse cohorts that no bias between sites can be seen in.

    Raises:
        InputError: fewer than two sites, or a case without one.
    """
    unknown = sum(not site for site in sites)
    if unknown:
        raise InputError(
            f"{source}: {unknown} case(s) without a {column}; fill in column '{column}', or choose another by --by"
        )
    if len(set(sites)) < 2:
        there = ", ".join(sorted(set(sites))) or "none"
        raise InputError(f"{source}: column '{column}' has {there} alone; expected two sites or more")
