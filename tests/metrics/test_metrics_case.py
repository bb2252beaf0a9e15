from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score

from aberra.metrics.case import (
    accuracy,
    auroc,
    average_precision,
    cohens_kappa,
    fpr_at_tpr,
    position_matched_auroc,
    realised_fpr,
    to_read,
)
from aberra.metrics.lesion import Froc, LesionCounts, large_regions
from aberra.metrics.paired import compare, holm, sign_flip_test


def test_case_ranking():
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.4
    scores = (rng.normal(size=60) + labels).round(1)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(scores, np.zeros(60)) is None
    assert fpr_at_tpr([1, 2, 3, 4], [0, 1, 0, 1], tpr=1.0) == 0.5


def test_classes_told():
    rng = np.random.default_rng(0)
    labels, told = rng.random(60) < 0.4, rng.random(60) < 0.7
    assert accuracy(told, labels) == pytest.approx(accuracy_score(labels, told))
    assert cohens_kappa(told, labels) == pytest.approx(cohen_kappa_score(labels, told))
    assert cohens_kappa(np.ones(60), labels) == pytest.approx(0)  # knows nothing
    assert cohens_kappa([1, 1], [1, 1]) is None
    assert accuracy([], []) is None


def test_matching_by_position_takes_away_what_position_explains():
    rng = np.random.default_rng(0)
    positions = rng.random(4000)
    labels = rng.random(4000) < np.where(abs(positions - 0.5) < 0.2, 0.6, 0.05)
    scores = -abs(positions - 0.5)
    assert auroc(scores, labels) > 0.75
    assert position_matched_auroc(scores, labels, positions, strata=10) == pytest.approx(0.5, abs=0.06)


def test_realised_rates_have_exact_intervals():
    rows = realised_fpr([0.01] * 12 + [0.5] * 188, 999)
    five = rows[1]
    assert five["realised"] == 0.06
    exact = binomtest(12, 200).proportion_ci(method="exact")
    assert five["interval"] == pytest.approx([exact.low, exact.high])
    assert five["within"]
    assert not realised_fpr([0.001] * 100, 999)[1]["not_above"]


def _volume(*boxes):
    mask = np.zeros((20, 20, 20), bool)
    for low, high in boxes:
        mask[low:high, low:high, low:high] = True
    return mask


def test_lesions_by_overlap_iou_and_volume():
    counts = LesionCounts()
    truth = _volume((0, 2), (5, 12))
    counts.add(_volume((1, 2), (11, 18)), truth, voxel_mm3=1.0)
    summary = counts.summary()
    assert summary["lesions"] == 2
    assert summary["recall_overlap"] == 1.0
    assert summary["recall_iou"] == 0.5  # 1 of 8 voxels is IoU .125; 1 of 343 + 343 − 1 is not .1
    assert summary["false_positives_per_scan"] == 0
    assert [each["lesions"] for each in summary["by_volume"]] == [1, 0, 1, 0, 0]
    counts.add(_volume((3, 6)), _volume(), voxel_mm3=1.0)
    assert counts.summary()["false_positives_per_scan"] == 0.5
    assert counts.summary()["finding_precision"] == pytest.approx(2 / 3)


def test_froc_by_hand():
    values = np.zeros((20, 20, 20), np.float32)
    values[_volume((2, 5))] = 0.9  # lesion
    values[_volume((8, 11))] = 0.6  # false
    values[_volume((14, 17))] = 0.4  # lesion
    froc = Froc([0.3, 0.5, 0.8])
    froc.add(values, _volume((2, 5), (14, 17)), 1.0, 8)
    assert froc.points() == [(0.0, 0.5), (1.0, 0.5), (1.0, 1.0)]
    assert froc.at((0.5, 1.0)) == {"0.5": 0.5, "1": 1.0}
    assert not large_regions(_volume((2, 3)), 8).any()


def test_holm_and_sign_flips():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert sign_flip_test([0.1] * 8) == pytest.approx(2 / 2**8)
    assert sign_flip_test([0.0, 0.0]) == 1.0
    rng = np.random.default_rng(0)
    assert sign_flip_test(rng.normal(1, 1, 40)) < 0.001
    rows = compare({"a": {"p": 1.0, "q": 2.0}, "b": {"p": 2.0, "q": 3.0, "r": 9.0}}, "a")
    assert rows[0]["difference"] == 1.0
    assert rows[0]["n"] == 2


@pytest.mark.parametrize(
    ("calibrated", "levels"), [(0, []), (9, [0.1]), (15, [0.1]), (19, [0.05, 0.1]), (99, [0.01, 0.05, 0.1])]
)
def test_a_rate_that_the_calibration_cannot_resolve_is_left_out(calibrated, levels):
    smallest = 1 / (calibrated + 1)
    rows = realised_fpr([smallest] * 3, calibrated)
    assert [row["nominal"] for row in rows] == levels
    assert all(row["flagged"] == 3 for row in rows)


def test_kappa_of_several_classes_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    one = rng.choice(["C1", "C2", "artefact"], 200)
    other = np.where(rng.random(200) < 0.6, one, rng.choice(["C1", "C3"], 200))
    assert cohens_kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))
    assert cohens_kappa(one, one) == 1
    assert cohens_kappa([], []) is None


def test_to_read_counts_every_case_up_to_the_last_finding_that_is_kept():
    scores, labels = [5, 4, 3, 2, 1], [1, 0, 1, 0, 0]
    assert to_read(scores, labels, tpr=0.5) == 0.2
    assert to_read(scores, labels, tpr=1.0) == 0.6
    assert to_read(scores, [0] * 5) is None
    assert to_read([1, 1, 1, 1], [1, 0, 0, 0]) == 1  # ties cannot be left unread
