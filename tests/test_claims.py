"""What the documentation says of results is what the CSVs of the benchmarks say."""

from __future__ import annotations

import csv
import tomllib
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parents[1]
CLAIMS = tomllib.loads((ROOT / "docs" / "claims.toml").read_text(encoding="utf-8"))["claims"]
REDUCTIONS = {"mean": fmean, "min": min, "max": max, "count": len}
WITHIN = 0.00051
"""Half of the third digit, and rounding."""


@cache
def _rows(name):
    with (ROOT / "benchmarks" / "results" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def _page(name):
    return " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())


def _number(claim):
    """What the CSV says."""
    wanted = {key: each if isinstance(each, list) else [each] for key, each in claim["where"].items()}
    rows = [row for row in _rows(claim["csv"]) if all(row[key] in among for key, among in wanted.items())]
    column, of = claim["column"], claim["of"]
    assert rows, f"{claim['csv']} has no row with {claim['where']}"
    if of == "value":
        (row,) = rows
        return float(row[column])
    if "above" in claim:
        rows = [row for row in rows if float(row[column]) > float(row[claim["above"]])]
    return float(REDUCTIONS[of]([float(row[column]) for row in rows]))


def _hold(claim):
    """Hold a sentence against its numbers."""
    assert " ".join(claim["words"].split()) in _page(claim["page"]), "not on the page: change both"
    assert len({"is", "below", "over"} & set(claim)) == 1
    number = _number(claim)
    if "is" in claim:
        assert number == pytest.approx(claim["is"], abs=claim.get("within", WITHIN))
    assert number < claim.get("below", float("inf"))
    assert number > claim.get("over", float("-inf"))


@pytest.mark.parametrize(
    "claim", CLAIMS, ids=lambda claim: f"{claim['page']}: {claim['words'][:40]}, {claim['column']}"
)
def test_a_page_says_what_the_numbers_say(claim):
    _hold(claim)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": "nobody ever wrote this"}, "not on the page"),
        ({"is": 0.9}, "0.9"),
        ({"where": {"cohort": "moon"}}, "no row"),
        ({"below": 0.5}, "=="),
    ],
)
def test_a_claim_that_does_not_hold_is_refused(change, message):
    claim = next(each for each in CLAIMS if each["of"] == "mean")
    _hold(claim)
    with pytest.raises(AssertionError, match=message):
        _hold(claim | change)
