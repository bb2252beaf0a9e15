from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pointbiserialr

from aberra.metrics.surface import hd95
from aberra.metrics.uncertainty import Reliability, UncertaintyQuality
from aberra.metrics.voxel import Overlap


def _reliability(*cases):
    tally = Reliability()
    for number, (p, truth) in enumerate(cases):
        tally.add(f"p{number}", np.asarray(p, np.float32), np.asarray(truth, bool))
    return tally.summary(replicates=20, seed=0)


def _quality(*cases):
    tally = UncertaintyQuality()
    for number, (u, mask, truth) in enumerate(cases):
        tally.add(f"p{number}", np.asarray(u, np.float32), np.asarray(mask, bool), np.asarray(truth, bool))
    return tally.summary(replicates=20, seed=0)


def test_ece_and_brier_by_hand():
    # bins [0.2, 0.267): mean p 0.225, no lesion; [0.733, 0.8): 0.75, half lesion
    found = _reliability(([0.2, 0.25, 0.75, 0.75], [0, 0, 1, 0]))
    assert found["ece"] == pytest.approx((2 * 0.225 + 2 * 0.25) / 4)
    assert found["brier"] == pytest.approx((0.2**2 + 0.25**2 + 0.25**2 + 0.75**2) / 4)
    assert found["bins"]["voxels"] == [2, 2]
    assert found["bins"]["lesion"] == [0.0, 0.5]
    assert found["ece_interval"] is None


def test_probabilities_that_come_true_have_no_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    truth = rng.random(p.size) < p
    calm, sharp = _reliability((p, truth)), _reliability((np.clip(2 * p - 0.5, 0, 1), truth))
    assert calm["ece"] < 0.005
    assert calm["brier"] == pytest.approx(1 / 6, abs=0.002)  # E[p(1 − p)]
    assert sharp["ece"] > 0.1
    assert _reliability((truth, truth))["ece"] == 0


def test_cases_are_pooled_and_order_does_not_matter():
    rng = np.random.default_rng(1)
    p, truth = rng.random(900), rng.random(900) < 0.3
    whole = _reliability((p, truth))
    parts = _reliability(*zip(np.split(p, 3), np.split(truth, 3), strict=True))
    assert parts["ece"] == pytest.approx(whole["ece"])
    assert parts["brier"] == pytest.approx(whole["brier"])
    low, high = parts["ece_interval"]
    assert low <= high


def test_an_uncertainty_that_knows_the_errors_is_the_oracle():
    rng = np.random.default_rng(2)
    mask, truth = rng.random(5000) < 0.1, rng.random(5000) < 0.1
    wrong = mask != truth
    found = _quality((wrong.astype(float), mask, truth))
    assert found["ause"] == pytest.approx(0, abs=1e-12)
    assert found["correlation"] == pytest.approx(1)
    np.testing.assert_allclose(
        found["sparsification"]["error"], found["sparsification"]["oracle"], atol=1e-12
    )
    rejected = {row["rejected"]: row["dice"] for row in found["dice_rejected"]}
    assert rejected[0.0] == pytest.approx(Overlap.of(mask, truth).dice)
    assert rejected[0.5] == 1.0


def test_an_uncertainty_that_knows_nothing_is_random():
    rng = np.random.default_rng(3)
    mask, truth = rng.random(200_000) < 0.1, rng.random(200_000) < 0.1
    constant = _quality((np.ones(mask.size), mask, truth))
    assert constant["ause"] == pytest.approx(constant["ause_random"])
    assert constant["correlation"] is None
    dice = [row["dice"] for row in constant["dice_rejected"]]
    assert dice == pytest.approx([dice[0]] * len(dice))
    drawn = _quality((rng.random(mask.size), mask, truth))
    assert drawn["ause"] == pytest.approx(drawn["ause_random"], abs=0.05)
    inverse = _quality((1.0 - (mask != truth), mask, truth))
    assert inverse["ause"] > drawn["ause"]


def test_sparsification_of_four_voxels_by_hand():
    # the wrong one is the second most uncertain: error 1/4, 1/3 without one voxel, 0 without two
    found = _quality(([0.4, 0.3, 0.2, 0.1], [1, 1, 0, 0], [1, 0, 0, 0]))
    f = np.linspace(0, 1, 2_000_001)[:-1]
    left = np.interp(f, [0, 0.25, 0.5, 1], [0.25, 0.25, 0, 0]) / (1 - f)
    ideal = np.maximum(0.25 - f, 0) / (1 - f)
    assert found["ause"] == pytest.approx((left - ideal).mean() / 0.25, abs=1e-5)
    assert found["correlation"] == pytest.approx(pointbiserialr([0, 1, 0, 0], [0.4, 0.3, 0.2, 0.1])[0])
    assert found["dice_rejected"][-1] == {"rejected": 0.5, "dice": None}


def test_nothing_wrong_has_no_ranking():
    found = _quality(([0.1, 0.2], [1, 0], [1, 0]))
    assert found["error"] == 0
    assert found["ause"] is None
    assert _quality() == {}
    assert _reliability() == {}


def test_hd95_of_shifted_boxes():
    mask, truth = (np.zeros((12, 12, 12), bool) for _ in range(2))
    mask[2:6, 2:6, 2:6] = True
    truth[5:9, 2:6, 2:6] = True
    assert hd95(mask, mask, (1.0, 1.0, 1.0)) == 0
    assert hd95(mask, truth, (2.0, 1.0, 1.0)) == pytest.approx(6.0)
    assert hd95(truth, mask, (2.0, 1.0, 1.0)) == hd95(mask, truth, (2.0, 1.0, 1.0))
    assert hd95(mask, np.zeros_like(mask), (1.0, 1.0, 1.0)) is None


def test_hd95_of_one_slice_and_of_a_far_voxel():
    mask, truth = (np.zeros((1, 40, 40), bool) for _ in range(2))
    mask[0, 5:15, 5:15] = truth[0, 5:15, 5:15] = True
    mask[0, 35, 35] = True  # one border voxel of 37: beyond the 95th percentile
    assert hd95(mask, truth, (9.0, 1.0, 1.0)) == 0
    mask[0, 33:37, 33:37] = True
    assert hd95(mask, truth, (9.0, 1.0, 1.0)) > 20


def test_jaccard_follows_from_dice():
    overlap = Overlap(true=3, predicted=5, actual=4)
    assert overlap.jaccard == pytest.approx(3 / 6)
    assert overlap.jaccard == pytest.approx(overlap.dice / (2 - overlap.dice))
    assert Overlap().jaccard is None
