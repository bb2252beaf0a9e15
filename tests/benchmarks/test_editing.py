from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from editing import PLAN, aims_of, as_table, in_words, summary

from aberra.volume import Volume


def test_every_planned_edit_can_be_asked_for():
    scan = Volume(data=np.ones((1, 16, 16, 16)), affine=np.diag([3.0, 3, 3, 1]))
    asked = [[aim.guide for aim in aims_of(kind, target, 1.0, scan, 3)] for kind, target, _ in PLAN]
    assert {guide for guides in asked for guide in guides} == {"class", "area", "age", "mask"}
    assert ["mask", "class"] in asked
    first, second = (aims_of("mask", None, 1.0, scan, number)[0].target for number in (0, 1))
    assert first.any()
    assert not np.array_equal(first, second)


def test_means_are_over_the_cases_and_the_checkers_own_error_is_of_the_true_age():
    found = [
        {"age_before": 40.0, "age_after": 60.0, "age_error": 20.0, "age_true": 50.0, "change": 0.2},
        {"age_before": 60.0, "age_after": 80.0, "age_error": 10.0, "age_true": 64.0, "change": 0.4},
    ]
    row = summary(("age", 80, 100.0), found)
    assert (row["cases"], row["age_after"], row["age_error"], row["change"]) == (2, 70.0, 15.0, 0.3)
    assert row["age_mae"] == pytest.approx(7)
    assert row["mask_after"] is None
    header, _, line, _, caption, *_ = as_table([row], "About.").splitlines()
    assert header.startswith("| guide | asked | weight")
    assert line == "| age | 80 years | 100 | years | 50 | 70 | 15 | – | 0.300 |"
    assert "7 years" in caption


def test_the_change_of_a_mask_is_told_inside_and_outside():
    found = [{"mask_before": 0.1, "mask_after": 0.5, "change_inside": 0.9, "change_outside": 0.3}]
    (line,) = [
        line for line in as_table([summary(("mask", None, 1.0), found)], "").splitlines() if "drawn" in line
    ]
    assert line == "| mask | a drawn mask | 1 | Dice | 0.10 | 0.50 | – | 0.900 | 0.300 |"


def test_a_caption_says_what_the_checkers_know_of_the_guides_that_there_are():
    assert in_words("healthy", {"accuracy": 0.04, "dice": 0.5}) == (
        "The checkers on slices of healthy people as they are: class right in 4%, Dice of the mask 0.50."
    )
    assert in_words("healthy", {}) == ""
