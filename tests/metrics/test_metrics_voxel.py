from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from aberra.errors import InputError
from aberra.metrics.bootstrap import PatientBootstrap, bootstrap, interval
from aberra.metrics.voxel import Overlap, Residuals, VoxelHistogram


def _curve(scores, truth, bits=27):
    histogram = VoxelHistogram(bits)
    for part, marks in zip(np.array_split(scores, 3), np.array_split(truth, 3), strict=True):
        histogram.add(part.astype(np.float32), marks)
    return histogram.curve()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.sampled_from([0, 1, 2]), share=st.floats(0.02, 0.6))
def test_agrees_with_scikit_learn(seed, ties, share):
    rng = np.random.default_rng(seed)
    truth = rng.random(400) < share
    truth[:2] = [True, False]
    scores = rng.gamma(2, 1, 400).astype(np.float32) + truth * rng.random(400).astype(np.float32)
    if ties == 1:
        scores = scores.round(1)
    if ties == 2:
        scores[rng.random(400) < 0.7] = 0
    found = _curve(scores, truth)
    tolerance = found.error_bound + 1e-9
    assert found.ap == pytest.approx(average_precision_score(truth, scores), abs=tolerance)
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores), abs=tolerance)
    candidates = np.unique(scores[scores > 0])
    best = max(Overlap.of(scores >= value, truth).dice for value in candidates)
    assert found.best_dice == pytest.approx(best, abs=1e-9)
    assert Overlap.of(scores > found.best_threshold, truth).dice == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("bits", [12, 16, 20])
def test_the_error_bound_holds_for_coarse_bins(bits):
    rng = np.random.default_rng(1)
    truth = rng.random(20_000) < 0.05
    scores = (rng.gamma(2, 1, 20_000) * np.where(truth, 2, 1)).astype(np.float32)
    found = _curve(scores, truth, bits)
    assert abs(found.ap - average_precision_score(truth, scores)) <= found.error_bound + 1e-9
    assert abs(found.auroc - roc_auc_score(truth, scores)) <= found.error_bound + 1e-9


def test_without_two_scores_in_a_bin_the_bound_is_zero():
    found = _curve(np.arange(1, 9), np.arange(8) % 3 == 0)
    assert found.error_bound == 0
    assert _curve(np.array([1, 1 + 1e-7, 2]), np.array([True, True, False])).error_bound > 0


def test_one_class_only():
    none = _curve(np.random.default_rng(0).random(50), np.zeros(50, bool))
    assert (none.ap, none.auroc, none.best_dice, none.prevalence) == (None, None, None, 0.0)
    every = _curve(np.random.default_rng(0).random(50), np.ones(50, bool))
    assert every.ap == 1.0
    assert every.auroc is None


def test_a_constant_map_has_the_prevalence_as_ap():
    truth = np.arange(100) < 7
    assert _curve(np.full(100, 0.3), truth).ap == pytest.approx(0.07)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_scores_must_be_finite_and_not_negative(bad):
    scores = np.ones(10, np.float32)
    scores[3] = bad
    with pytest.raises(InputError, match="finite"):
        VoxelHistogram(12).add(scores, np.zeros(10, bool))
    with pytest.raises(InputError, match="equal"):
        VoxelHistogram(12).add(scores, np.zeros(9, bool))


def test_memory_does_not_grow_with_the_number_of_cases():
    histogram = VoxelHistogram(16)
    size = histogram.positives.nbytes
    for seed in range(5):
        rng = np.random.default_rng(seed)
        histogram.add(rng.random(1000).astype(np.float32), rng.random(1000) < 0.1)
    assert histogram.positives.nbytes == size
    assert histogram.positives.sum() + histogram.negatives.sum() == 5000


def test_residual_errors_and_chi_square():
    found = Residuals()
    found.add(np.array([0.0, 1.0, 1.0, 3.0], np.float32), np.array([False, False, True, True]))
    summary = found.summary()
    assert summary["l1_normal"] == 0.5
    assert summary["l1_anomalous"] == 2.0
    assert 0 < summary["chi2"] < 1
    apart = Residuals()
    apart.add(np.array([1.0, 8.0], np.float32), np.array([False, True]))
    assert apart.summary()["chi2"] == pytest.approx(1)


def test_overlap_of_empty_masks():
    nothing = Overlap.of(np.zeros(5, bool), np.zeros(5, bool))
    assert nothing.dice is None
    assert Overlap.of(np.ones(5, bool), np.zeros(5, bool)).dice == 0


def test_patient_bootstrap_is_repeatable_and_wraps_the_value():
    rng = np.random.default_rng(0)
    first, again = PatientBootstrap(200, seed=1), PatientBootstrap(200, seed=1)
    pooled = VoxelHistogram(16)
    for patient in range(30):
        truth = rng.random(2000) < 0.05
        scores = (rng.gamma(2, 1, 2000) * np.where(truth, rng.uniform(1, 4), 1)).astype(np.float32)
        for each in (first, again):
            each.add(f"p{patient}", scores, truth)
        pooled.add(scores, truth)
    assert first.intervals() == again.intervals()
    low, high = first.intervals()["ap"]
    assert low < pooled.curve().ap < high
    assert PatientBootstrap(10).intervals()["ap"] is None


def test_a_patients_cases_are_drawn_together():
    seen = []
    bootstrap(lambda drawn: seen.append(sorted(set(drawn.tolist()))) or 0.0, ["a", "a", "b"], replicates=20)
    assert all((0 in drawn) == (1 in drawn) for drawn in seen)
    assert interval(np.full(10, np.nan)) is None
