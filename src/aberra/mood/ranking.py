"""Rank submissions over data sets as the challenge does, and say how far that can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.metrics.bootstrap import bootstrap
from aberra.metrics.case import average_precision
from aberra.metrics.ranks import kendall, ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Table = Mapping[str, Mapping[str, float]]
    """Data set to team to value, higher is better."""

OVERALL = "overall"
"""The final ranking among the data sets' own."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One team.

    Attributes:
        rank: final; equal mean ranks share the better one.
        team: its name.
        values: by data set; 0 where it handed nothing in.
        ranks: by data set; equal values share the better one.
        mean_rank: of all data sets, each of which weighs the same.
        consensus: mean rank where equal values share the mean of their ranks.
        consensus_rank: final rank by ``consensus``.
    """

    rank: int
    team: str
    values: dict[str, float]
    ranks: dict[str, int]
    mean_rank: float
    consensus: float
    consensus_rank: int


def ranking(table: Table) -> list[Place]:
    """Rank the teams: on each data set, by the mean of these ranks, and that mean again (Zimmerer
    2022, chapter 4).

    A team without a value on a data set counts as 0 there. ``consensus`` is the Euclidean consensus
    of challengeR (Wiesenfarth et al. 2021, doi 10.1038/s41598-021-82017-6), whose order can differ
    where values are equal.

    Args:
        table: data set to team to value.

    Returns:
        The teams, best first.

    Examples:
        >>> from aberra.mood.ranking import ranking
        >>> brain, abdomen = {"a": 0.9, "b": 0.8, "c": 0.8}, {"a": 0.5, "b": 0.6, "c": 0.1}
        >>> places = ranking({"brain": brain, "abdomen": abdomen})
        >>> [(place.rank, place.team, place.mean_rank) for place in places]
        [(1, 'a', 1.5), (1, 'b', 1.5), (3, 'c', 2.5)]
    """
    from scipy.stats import rankdata

    teams = sorted({team for values in table.values() for team in values})
    whole = {name: {team: values.get(team, 0.0) for team in teams} for name, values in table.items()}
    own = ranks(whole, teams)
    mean = {team: fmean(own[team]) for team in teams}
    shared = np.mean([rankdata([-values[team] for team in teams]) for values in whole.values()], axis=0)
    consensus = dict(zip(teams, map(float, shared), strict=True))
    final, agreed = _places(mean), _places(consensus)
    places = [
        Place(
            rank=final[team],
            team=team,
            values={name: values[team] for name, values in whole.items()},
            ranks=dict(zip(whole, own[team], strict=True)),
            mean_rank=mean[team],
            consensus=consensus[team],
            consensus_rank=agreed[team],
        )
        for team in teams
    ]
    return sorted(places, key=lambda place: (place.mean_rank, place.team))


def _places(scores: Mapping[str, float]) -> dict[str, int]:
    """Rank of each name by a score of which less is better; equal ones, rounding aside, share the
    better rank.
    """
    near = 1e-9
    return {name: 1 + sum(other < own - near for other in scores.values()) for name, own in scores.items()}


def agreement(first: Table, second: Table) -> dict[str, tuple[float, int]]:
    """Kendall's τ-b of two tables and the number of teams in it, on each data set that both have,
    and of their final rankings; only teams that both have count.

    Raises:
        InputError: fewer than three teams in common.
    """
    both = [name for name in first if name in second]
    found = {name: kendall(first[name], second[name]) for name in both}
    found[OVERALL] = kendall(_order(first), _order(second))
    told = {name: (each[0], each[2]) for name, each in found.items() if each is not None}
    if OVERALL not in told:
        raise InputError("the tables have fewer than three teams in common; expected the same names")
    return told


def opposed(first: Table, second: Table) -> list[dict[str, Any]]:
    """Each team's place in two tables, of which the second may be of other data sets: generated
    anomalies and real lesions, say.

    Returns:
        A row a team that both have, in the order of the first table: ``team``, its final ``rank``
        among these teams, ``rank_against`` in the second table, and ``falls``, the places that lie
        between.
    """
    orders = {side: _order(table) for side, table in (("rank", first), ("rank_against", second))}
    teams = sorted(orders["rank"].keys() & orders["rank_against"].keys())
    places = ranks(orders, teams)
    rows = [
        {"team": team, "rank": own, "rank_against": other, "falls": other - own}
        for team, (own, other) in places.items()
    ]
    return sorted(rows, key=lambda row: (row["rank"], row["team"]))


def agreement_interval(
    rows: Sequence[Mapping[str, Any]], *, replicates: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the τ-b of two final rankings, over teams drawn again with repetition: how far
    it depends on which ones were compared.

    Args:
        rows: of :func:`opposed`.
        replicates: how many draws.
        seed: of the draws.
    """
    one, other = (np.array([row[side] for row in rows], float) for side in ("rank", "rank_against"))

    def tau(drawn: NDArray[np.int64]) -> float | None:
        first, second = ({str(n): value for n, value in enumerate(each[drawn])} for each in (one, other))
        found = kendall(first, second)
        return None if found is None or np.isnan(found[0]) else found[0]

    return bootstrap(tau, [row["team"] for row in rows], replicates=replicates, seed=seed)


def _order(table: Table) -> dict[str, float]:
    """Team to a number that is higher the better its final rank."""
    return {place.team: -float(place.rank) for place in ranking(table)}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a data set's values are made of, unit by unit, the same units for all teams.

    Attributes:
        units: name of the patient, or batch, that each entry belongs to; drawn together.
        entries: team to its entries: a value each, or a score each of ``labels``.
        labels: truth of the entries where the value is their average precision; None where it is
            their mean.
    """

    units: Sequence[str]
    entries: Mapping[str, NDArray[np.float64]]
    labels: NDArray[np.bool] | None = None

    def value(self, team: str, drawn: NDArray[np.int64]) -> float:
        """The team's value on some entries."""
        entries = self.entries[team][drawn]
        if self.labels is None:
            return float(np.nanmean(entries)) if np.isfinite(entries).any() else 0.0
        return average_precision(entries, self.labels[drawn]) or 0.0


def stability(
    evidence: Mapping[str, Evidence], teams: Sequence[str], *, replicates: int = 1000, seed: int = 0
) -> dict[str, list[int]]:
    """How often each team has each final rank where the units of all data sets are drawn again, with
    repetition and the same ones for all teams.

    Args:
        evidence: data set to what its values are made of.
        teams: their names.
        replicates: how many draws.
        seed: of the draws.

    Returns:
        Team to replicates at rank 1, 2, ...
    """
    rng = np.random.default_rng(seed)
    draws = {name: _drawing(each.units) for name, each in evidence.items()}
    found = {team: [0] * len(teams) for team in teams}
    for _ in range(replicates):
        table = {}
        for name, each in evidence.items():
            drawn = draws[name](rng)
            table[name] = {team: each.value(team, drawn) for team in each.entries}
        for place in ranking(table):
            found[place.team][place.rank - 1] += 1
    return found


def _drawing(units: Sequence[str]) -> Callable[[np.random.Generator], NDArray[np.int64]]:
    """A draw of as many units as there are, as indices of their entries."""
    names = sorted(set(units))
    of = np.array(units)
    members = [np.flatnonzero(of == name) for name in names]
    return lambda rng: np.concatenate([members[pick] for pick in rng.integers(len(names), size=len(names))])


def by_subclass(
    table: Mapping[str, Mapping[str, float]], best: str, difficulty: Mapping[str, float | None]
) -> list[dict[str, Any]]:
    """What submissions reach on each subclass: the median of all, the best submission, and an oracle
    that takes the best one for every subclass (Zimmerer 2022, chapter 4).

    Args:
        table: team to subclass to AP.
        best: the team that is first in the ranking.
        difficulty: of each subclass, where it is known.

    Returns:
        A row a subclass, from the easiest by the median.
    """
    names = sorted({name for values in table.values() for name in values})
    rows = []
    for name in names:
        known = {team: values[name] for team, values in table.items() if name in values}
        top = max(known, key=lambda team: known[team])
        rows.append(
            {"subclass": name, "median": float(np.median([*known.values()])), "best": known.get(best)}
            | {"oracle": known[top], "oracle_team": top, "difficulty": difficulty.get(name)}
        )
    return sorted(rows, key=lambda row: -row["median"])
