from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aberra.cohort import Case, Cohort
from aberra.cohort.splits import split_by_patient, split_hash
from aberra.errors import ConfigError

PARTS = {"train": 0.8, "val": 0.2}


def _cohort(patients):
    return Cohort(Case(case=f"c{i}", patient=str(name), channels={}) for i, name in enumerate(patients))


def _sides(cohort):
    sides = {}
    for case in cohort:
        sides.setdefault(case.patient, set()).add(case.split)
    return sides


patients = st.lists(st.integers(0, 60), min_size=1, max_size=80)


@given(patients, st.integers(0, 5))
def test_a_patient_is_on_one_side(names, seed):
    sides = _sides(split_by_patient(_cohort(names), PARTS, seed=seed))
    assert all(len(side) == 1 for side in sides.values())
    if len(sides) >= 2:
        assert set.union(*sides.values()) == set(PARTS)


@given(patients, st.randoms())
def test_the_order_of_rows_does_not_matter(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert _sides(split_by_patient(_cohort(names), PARTS)) == _sides(
        split_by_patient(_cohort(shuffled), PARTS)
    )


@given(st.sets(st.integers(0, 60), min_size=2), st.integers(61, 99))
def test_a_new_patient_moves_at_most_one_other(names, new):
    before = _sides(split_by_patient(_cohort(names), PARTS))
    after = _sides(split_by_patient(_cohort([*names, new]), PARTS))
    assert sum(after[name] != side for name, side in before.items()) <= 1


def test_shares_are_exact_and_seeded():
    cohort = _cohort(range(100))
    parts = {"train": 0.5, "val": 0.2, "test": 0.3}
    split = split_by_patient(cohort, parts, seed=1)
    assert [sum(case.split == name for case in split) for name in parts] == [50, 20, 30]
    assert split_hash(split) == split_hash(split_by_patient(cohort, parts, seed=1))
    assert split_hash(split) != split_hash(split_by_patient(cohort, parts, seed=2))


@pytest.mark.parametrize("parts", [{"train": 0.8}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_cannot_be(parts):
    with pytest.raises(ConfigError, match="sum to 1"):
        split_by_patient(_cohort([1, 2]), parts)
