"""Places in an order: of methods on several data sets, and how far orders agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


def kendall(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[float, float, int] | None:
    """Kendall's τ-b of two orders of the names that both have, its p-value and their number; None
    for fewer than three.
    """
    from scipy.stats import kendalltau

    names = sorted(set(ours) & set(theirs))
    if len(names) < 3:
        return None
    found = kendalltau([ours[name] for name in names], [theirs[name] for name in names])
    return float(found.statistic), float(found.pvalue), len(names)


def ranks(values: Mapping[Any, Mapping[str, float]], names: Collection[str]) -> dict[str, list[int]]:
    """Rank of each of ``names`` among them on every cohort, in the order of ``values``; 1 is the
    highest, and equal values share the better rank.
    """
    return {
        name: [1 + sum(own[other] > own[name] for other in names) for own in values.values()]
        for name in names
    }


def concordance(places: Mapping[str, Sequence[int]]) -> float:
    """Kendall's W of m orders of n names: 1 where all cohorts agree, about 1/m by chance.

    Args:
        places: name to its rank in every order, two or more names.
    """
    from scipy.stats import rankdata

    shared = rankdata(list(places.values()), axis=0)  # equal ranks share their mean
    n, m = shared.shape
    total = shared.sum(axis=1)
    return float(12 * ((total - total.mean()) ** 2).sum() / (m**2 * (n**3 - n)))
