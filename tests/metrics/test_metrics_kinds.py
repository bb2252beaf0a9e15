from __future__ import annotations

import numpy as np
import pytest

from aberra.metrics.kinds import KindOverlap


def test_dice_of_each_label_value_pooled_and_by_case():
    overlap = KindOverlap()
    assert overlap.add(np.array([1, 1, 2, 0]), np.array([1, 2, 2, 0], np.uint8)) == {
        "1": pytest.approx(2 / 3),
        "2": pytest.approx(2 / 3),
    }
    # a value that the truth of a case lacks counts in the pool only, as false positives do
    assert overlap.add(np.array([0, 0, 4, 2]), np.array([0, 0, 0, 2], np.uint8)) == {"2": 1.0, "4": None}
    found = overlap.summary("fixed-0.5")
    assert found["2"] == {
        "protocol": "fixed-0.5", "cases": 2, "dice": 4 / 5, "dice_mean": pytest.approx(5 / 6), "dice_std": pytest.approx(1 / 6),
    }  # fmt: skip
    assert (found["4"]["dice"], found["4"]["cases"], found["4"]["dice_mean"]) == (0.0, 0, None)


def test_nothing_anywhere_has_no_kind():
    overlap = KindOverlap()
    assert overlap.add(np.zeros(3, bool), np.zeros(3, np.uint8)) == {}
    assert overlap.summary(None) == {}


def test_a_mask_without_kinds_is_kind_one():
    assert KindOverlap().add(np.array([True, False]), np.array([1, 3], np.uint8)) == {"1": 1.0, "3": 0.0}
