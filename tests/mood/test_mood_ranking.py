"""Rankings, against the tables that the thesis prints."""

from __future__ import annotations

import numpy as np
import pytest
from mood_cases import PIXEL, SAMPLE, TEAMS

from aberra.errors import InputError
from aberra.metrics.ranks import kendall
from aberra.mood.ranking import (
    OVERALL,
    Evidence,
    agreement,
    agreement_interval,
    by_subclass,
    opposed,
    ranking,
    stability,
)


def test_the_sample_table_of_the_thesis():
    """Zimmerer 2022, table 4.1."""
    places = ranking(SAMPLE)
    assert [(place.rank, place.team) for place in places] == [
        (1, "FPI"), (2, "Marimont"), (3, "Canon"), (4, "NUDT"), (5, "Tuluptceva"), (6, "A1"), (7, "A2"), (7, "Saase")
    ]  # fmt: skip
    assert [place.mean_rank for place in places] == [1.5, 2, 3.5, 4, 4.5, 6, 7, 7]
    assert places[0].ranks == {"brain": 1, "abdomen": 2}


def test_the_pixel_table_of_the_thesis():
    """Zimmerer 2022, table 4.2."""
    places = ranking(PIXEL)
    assert [(place.rank, place.team) for place in places] == [
        (1, "FPI"), (2, "Canon"), (3, "Marimont"), (3, "Tuluptceva"), (5, "NUDT"), (6, "Saase"), (7, "A1"), (8, "A2")
    ]  # fmt: skip
    assert [place.mean_rank for place in places] == [1, 2, 4, 4, 4.5, 6, 6.5, 7.5]


def test_the_consensus_gives_equal_values_the_mean_of_their_ranks():
    by_team = {place.team: place for place in ranking(SAMPLE)}
    assert (by_team["FPI"].consensus, by_team["Marimont"].consensus) == (1.75, 2.25)  # tied on the abdomen
    assert [by_team[team].consensus_rank for team in TEAMS] == [1, 2, 3, 4, 5, 6, 7, 7]


def test_the_consensus_can_differ_where_values_are_equal():
    table = {"one": dict.fromkeys("abc", 0.5) | {"d": 0.4}, "two": {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}}
    places = {place.team: place for place in ranking(table)}
    assert (places["c"].rank, places["c"].consensus_rank) == (1, 1)
    assert (places["d"].rank, places["d"].consensus_rank) == (3, 2)
    assert (places["a"].mean_rank, places["d"].mean_rank) == (2.5, 2.5)
    assert (places["a"].consensus, places["d"].consensus) == (3.0, 2.5)


def test_a_missing_value_is_nothing():
    table = {"one": {"a": 0.5, "b": 0.4}, "two": {"b": 0.1}}
    assert [(place.team, place.values) for place in ranking(table)] == [
        ("a", {"one": 0.5, "two": 0.0}), ("b", {"one": 0.4, "two": 0.1})
    ]  # fmt: skip


def _tau_b(first, second):
    """τ-b from its definition, pair by pair."""
    signs = [
        (np.sign(first[a] - first[b]), np.sign(second[a] - second[b])) for i, a in enumerate(TEAMS) for b in TEAMS[:i]
    ]  # fmt: skip
    total = sum(one * two for one, two in signs)
    untied = [sum(pair[side] != 0 for pair in signs) for side in (0, 1)]
    return total / np.sqrt(untied[0] * untied[1])


@pytest.mark.parametrize("name", ["brain", "abdomen"])
def test_tau_b_of_the_printed_tables_is_that_of_its_pairs(name):
    found = agreement(SAMPLE, PIXEL)
    assert found[name] == (pytest.approx(_tau_b(SAMPLE[name], PIXEL[name])), 8)


def test_tau_b_is_one_of_a_table_with_itself_and_minus_one_turned_round():
    assert [tau for tau, _ in agreement(PIXEL, PIXEL).values()] == pytest.approx([1.0] * 3)
    turned = {name: {team: -value for team, value in values.items()} for name, values in SAMPLE.items()}
    assert agreement(SAMPLE, turned)[OVERALL][0] == pytest.approx(-1)


@pytest.mark.parametrize(("tau", "swaps"), [(0.357, 9), (0.5, 7), (0.642, 5), (1.0, 0)])
def test_the_taus_of_the_thesis_are_those_of_eight_teams(tau, swaps):
    """Table 4.3 has toy against test; what it prints is 1 − 2 s / 28 for s pairs in the other order,
    cut after the third digit.
    """
    order = list(range(8))
    for step in range(swaps):  # one swap of neighbours each, 7, 6, ... of a bubble sort's passes
        place = step if step < 7 else step - 7
        order[place], order[place + 1] = order[place + 1], order[place]
    found = kendall(dict(zip(TEAMS, range(8), strict=True)), dict(zip(TEAMS, order, strict=True)))
    assert int(found[0] * 1000 + 1e-9) / 1000 == tau


def test_tables_without_teams_in_common_are_refused():
    with pytest.raises(InputError, match="in common"):
        agreement(SAMPLE, {"brain": {"x": 1.0, "y": 2.0, "z": 0.0}})
    assert list(agreement(SAMPLE, {"heart": SAMPLE["brain"]})) == [OVERALL], "other data sets, the same teams"


def test_places_in_two_tables_and_the_interval_of_their_tau():
    first = {"generated": dict(zip("abcdex", (0.9, 0.8, 0.7, 0.6, 0.5, 1.0), strict=True))}
    turned = {"real": dict(zip("abcdey", (0.1, 0.2, 0.3, 0.4, 0.5, 0.0), strict=True))}
    rows = opposed(first, turned)
    assert [(row["team"], row["rank"], row["rank_against"], row["falls"]) for row in rows] == [
        ("a", 1, 5, 4), ("b", 2, 4, 2), ("c", 3, 3, 0), ("d", 4, 2, -2), ("e", 5, 1, -4),
    ]  # fmt: skip
    assert agreement_interval(rows) == pytest.approx((-1, -1)), "all pairs are turned, whichever are drawn"
    same = opposed(first, {"real": first["generated"]})
    assert agreement_interval(same) == pytest.approx((1, 1))
    mixed = opposed(first, {"real": dict(zip("abcde", (5, 3, 4, 1, 2), strict=True))})
    low, high = agreement_interval(mixed, replicates=400)
    assert agreement_interval(mixed, replicates=400) == (low, high)
    tau = agreement(first, {"real": dict(zip("abcde", (5, 3, 4, 1, 2), strict=True))})[OVERALL][0]
    assert tau == pytest.approx(1 - 2 * 2 / 10)
    assert -1 <= low < tau < high <= 1


def test_a_clear_order_is_stable_and_a_close_one_is_not():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2 == 1
    noise = {team: rng.random(60) for team in "abc"}
    entries = {"a": labels + 0.2 * noise["a"], "b": labels + 1.6 * noise["b"], "c": labels + 1.6 * noise["c"]}
    units = [f"p{number}" for number in range(60)]
    found = stability({"brain": Evidence(units=units, entries=entries, labels=labels)}, "abc", replicates=200)
    assert found["a"] == [200, 0, 0]
    assert 200 > found["b"][1] > 0
    assert found["b"][1] + found["b"][2] == 200
    again = stability({"brain": Evidence(units=units, entries=entries, labels=labels)}, "abc", replicates=200)
    assert again == found


def test_equal_teams_share_the_first_rank_in_every_draw():
    same = np.array([0.5, np.nan, 0.7])  # a batch without an anomaly
    evidence = {"x": Evidence(units=["0", "1", "2"], entries={"a": same, "b": same})}
    assert stability(evidence, "ab", replicates=50) == {"a": [50, 0], "b": [50, 0]}


def test_entries_of_a_patient_are_drawn_together():
    each = Evidence(
        units=["p", "p", "q", "q"], entries={"a": np.array([1.0, 1, 0, 0]), "b": np.array([0.4] * 4)}
    )
    found = stability({"x": each}, "ab", replicates=300)
    assert found["a"][0] + found["a"][1] == 300  # 1, .5 or 0 against .4
    assert found["a"][0] == pytest.approx(225, abs=30)


def test_the_oracle_takes_the_best_of_each_subclass():
    table = {"a": {"x": 0.9, "y": 0.2}, "b": {"x": 0.5, "y": 0.6}, "c": {"x": 0.1, "y": 0.1}}
    assert by_subclass(table, "a", {"y": 0.7}) == [
        {"subclass": "x", "median": 0.5, "best": 0.9, "oracle": 0.9, "oracle_team": "a", "difficulty": None},
        {"subclass": "y", "median": 0.2, "best": 0.2, "oracle": 0.6, "oracle_team": "b", "difficulty": 0.7},
    ]
