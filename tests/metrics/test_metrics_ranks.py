from __future__ import annotations

import pytest

from aberra.metrics.ranks import concordance, kendall, ranks


def test_kendall_compares_the_names_that_both_have():
    ours, theirs = {"a": 1.0, "b": 2.0, "c": 3.0, "x": 0.0}, {"a": 0.1, "b": 0.2, "c": 0.3, "y": 9.0}
    assert kendall(ours, theirs)[0::2] == (1.0, 3)
    assert kendall({name: -value for name, value in ours.items()}, theirs)[0] == -1.0
    assert kendall({"a": 1.0}, theirs) is None


def test_ranks_share_the_better_place_and_concordance_is_one_where_cohorts_agree():
    values = {"a": {"x": 0.9, "y": 0.5, "z": 0.5, "w": 1.0}, "b": {"x": 0.2, "y": 0.1, "z": 0.0, "w": 1.0}}
    assert ranks(values, ["x", "y", "z"]) == {"x": [1, 1], "y": [2, 2], "z": [2, 3]}
    assert concordance({"x": [1, 1, 1], "y": [2, 2, 2], "z": [3, 3, 3]}) == pytest.approx(1)
    assert concordance({"x": [1, 3], "y": [2, 2], "z": [3, 1]}) == pytest.approx(0)
