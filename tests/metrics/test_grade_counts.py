from __future__ import annotations

import numpy as np
import pytest

from aberra.grades import Grade
from aberra.metrics.findings import agreement, by_grade, rates, reading

STUDY = {"C1": 16, "C2": 3, "C3": 0, "false-positive": 28, "strip-failure": 10, "artefact": 12, "not-relevant": 3, "condition": 12}  # fmt: skip
MISSED = {"C1": 37 - 16, "C2": 39 - 3, "C3": 8}
"""Zimmerer 2022, table 4.5: objects by grade, and findings that no object lies on."""


def _study():
    graded = [grade for grade, count in STUDY.items() for _ in range(count)]
    graded = [(f"s{n}", 1, grade) for n, grade in enumerate(graded)]
    missed = [grade for grade, count in MISSED.items() for _ in range(count)]
    return graded + [(f"m{n}", 0, grade) for n, grade in enumerate(missed)]


def test_the_population_study_is_counted_as_published():
    graded = _study()
    rows = {row["grade"]: row for row in by_grade(graded)}
    assert {grade: row["objects"] for grade, row in rows.items()} == STUDY
    assert [rows[grade]["found"] for grade in ("C1", "C2", "C3")] == [16 / 37, 3 / 39, 0]
    assert rows["artefact"]["found"] is None
    found = rates(graded, {case: case for case, _, _ in graded}, n_boot=200, seed=0)
    assert found["sensitivity"] == pytest.approx(0.226, abs=5e-4)  # 19 of 84
    assert found["precision"] == pytest.approx(0.226, abs=5e-4)  # 19 of 84
    assert found["medical"] == 31 / 84
    low, high = found["precision_interval"]
    assert 0.12 < low < 19 / 84 < high < 0.34


def test_nothing_graded_is_no_rate():
    found = rates([], {"a": "a", "b": "b"}, n_boot=10, seed=0)
    assert found == {"sensitivity": None, "precision": None, "medical": None}


def _reader(name, grades):
    return {
        ("s", n, None): Grade(reader=name, case="s", object=n, grade=grade) for n, grade in grades.items()
    }


def test_readers_agree_on_what_both_have_graded():
    one = _reader("a", {1: "C1", 2: "C1", 3: "artefact", 4: "artefact", 5: "C1"})
    other = _reader("b", {1: "C1", 2: "C2", 3: "artefact", 4: "artefact", 6: "C1"})
    found = agreement(one, other, {"s": "p"}, n_boot=10, seed=0)
    assert (found["objects"], found["agreed"]) == (4, 0.75)
    assert found["kappa"] == pytest.approx((0.75 - 0.375) / (1 - 0.375))  # e = ½·¼ + ½·½
    assert found["kappa_finding"] == 1
    assert found["kappa_interval"] is None  # of one patient


def test_missed_findings_and_none_in_common_are_no_agreement():
    missed = {
        ("s", 0, (1.0, 2.0, 3.0)): Grade(reader="a", case="s", object=0, grade="C1", x=1.0, y=2.0, z=3.0)
    }
    found = agreement(missed, missed, {"s": "p"}, n_boot=10, seed=0)
    assert (found["objects"], found["agreed"], found["kappa"]) == (0, None, None)


@pytest.mark.parametrize("flagged", [0, 50, 100])
def test_where_half_is_diseased_reading_is_475_permille_and_half_of_the_false_positives(flagged):
    # 95 of 100 findings score 2, as do some of the scans without
    scores = np.r_[np.full(95, 2.0), np.full(5, 0.0), np.full(flagged, 2.0), np.full(100 - flagged, 1.0)]
    positive = np.arange(200) < 100
    found = reading(scores, positive, [f"p{n}" for n in range(200)], 0.95, n_boot=20, seed=0)
    assert found["false_positive_rate"] == flagged / 100
    assert found["to_read"] == pytest.approx(0.475 + 0.5 * found["false_positive_rate"])
    assert found["saved"] == pytest.approx(1 - found["to_read"])
    assert (found["with"], found["without"]) == (100, 100)


@pytest.mark.parametrize("positive", [False, True])
def test_of_one_kind_of_scan_nothing_is_said_of_reading(positive):
    found = reading([1.0, 2.0], [positive] * 2, ["a", "b"], 0.95, n_boot=10, seed=0)
    assert found["to_read"] is None
    assert found["saved"] is None
