from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from aberra.mood.counts import BINS, Batches, count, curve


@pytest.mark.parametrize("seed", range(3))
def test_counts_give_the_average_precision_of_float16_ties_included(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((5, 6, 7)) < 0.2
    values = np.clip(0.3 * truth + rng.normal(0.5, 0.3, truth.shape), 0, 1).astype(np.float32)
    found = curve(count(values, truth))
    read = values.astype(np.float16).astype(float).ravel()
    assert found.ap == pytest.approx(average_precision_score(truth.ravel(), read))
    assert found.auroc == pytest.approx(roc_auc_score(truth.ravel(), read))


def test_float16_ties_what_float32_tells_apart():
    truth = np.array([True, False])
    assert curve(count(np.float32([0.90001, 0.9]), truth)).ap == 0.5
    assert curve(count(np.float32([0.91, 0.9]), truth)).ap == 1.0


def test_ends_and_negative_zero_are_counted():
    counts = count(np.float32([-0.0, 0.0, 1.0]), np.array([False, True, True]))
    assert counts.shape == (2, BINS)
    assert (counts[0, 0], counts[1, 0], counts[1, -1], counts.sum()) == (1, 1, 1, 3)


def _names(many):
    return [f"c{number}" for number in range(many)]


def test_every_scan_is_in_one_batch_a_pass_and_passes_differ():
    batches = Batches(_names(45), size=20, seed=1)
    for turn in batches.batch_of:
        assert np.bincount([*turn.values()]).tolist() == [20, 20, 5]
    assert batches.batch_of[0] != batches.batch_of[1]


def test_batches_depend_on_names_and_seed_alone():
    names = _names(45)
    first = Batches(names, seed=1).batch_of
    assert Batches(names[::-1], seed=1).batch_of == first
    assert Batches(names, seed=2).batch_of != first


def test_the_ap_of_a_batch_is_that_of_its_scans_together():
    rng = np.random.default_rng(0)
    names = _names(6)
    batches = Batches(names, size=3, passes=1, seed=0)
    scans = {}
    for name in names:
        truth = (rng.random(50) < 0.2) & (batches.batch_of[0][name] == 0)
        scans[name] = rng.random(50).astype(np.float32).round(2), truth
        batches.add(name, count(*scans[name]))
    own = [name for name in names if batches.batch_of[0][name] == 0]
    pooled = [np.concatenate([scans[name][part] for name in own]) for part in (0, 1)]
    wanted = average_precision_score(pooled[1], pooled[0].astype(np.float16).astype(float))
    assert batches.ap() == [[pytest.approx(wanted), None]]  # the other batch has no anomaly
