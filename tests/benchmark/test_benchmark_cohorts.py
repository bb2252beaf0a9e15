"""Cohorts of a suite that are made of others: anomalies of the challenge."""

from __future__ import annotations

import pytest

from aberra.benchmark import Suite
from aberra.benchmark.cohorts import materialise
from aberra.errors import ConfigError

TEXT = """
[cohorts.people]
phantom = { cases = 20, spacing = 8.0, seed = 3 }
[cohorts.challenge]
mood = { cohort = "people", seed = 1, only = ["ring"] }
[cohorts.toy]
mood = { cohort = "people", family = "toy", only = ["sphere"] }
[cohorts.dirty]
mood = { cohort = "people", contaminate = 0.25, only = ["ring"] }
split = "train"
[cohorts.wrong]
mood = { cohort = "people", size = 3 }
[tasks.t]
train = "dirty"
validation = "toy"
test = ["challenge"]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "own.toml"
    path.write_text(TEXT)
    return Suite.load(str(path))


def test_sets_of_the_challenge_are_cohorts(suite, tmp_path):
    challenge, toy, dirty = (
        materialise(suite, name, tmp_path, None, progress=False) for name in ("challenge", "toy", "dirty")
    )
    assert {case.groups.get("subclass") for case in challenge} == {"ring", None}
    assert {case.groups.get("subclass") for case in toy} == {"sphere", None}
    assert all((case.label == 1) == (case.lesion is not None) for case in (*challenge, *toy))
    assert all(case.healthy for case in dirty)
    ill = [case.groups["contaminated"] for case in dirty].count("1")
    assert ill == round(0.25 * len(dirty)) > 0
    people = [{case.patient for case in each} for each in (challenge, toy, dirty)]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]


def test_options_that_the_challenge_has_not_are_refused(suite, tmp_path):
    with pytest.raises(ConfigError, match=r"suite own, cohort 'wrong'.*size"):
        materialise(suite, "wrong", tmp_path, None, progress=False)
