from __future__ import annotations

import numpy as np
import pytest

from aberra.detector.calibration import Calibration, ScoreHistogram, conformal_p
from aberra.metrics.voxel import VoxelHistogram
from aberra.mood.counts import count, curve
from aberra.mood.unit import HALVED, PROBABILITY, RANK, Unit

HEALTHY = (0.3, 0.5, 0.5, 0.9, 1.4)
UNIT = Unit(half=2.0, healthy=HEALTHY)


def test_scores_rise_strictly_and_stay_in_the_unit():
    asked = np.sort(np.concatenate([np.linspace(-5, 20, 997), HEALTHY]))
    told = np.array([UNIT.score(value) for value in asked])
    assert ((told > 0) & (told < 1)).all()
    assert (np.diff(told)[np.diff(asked) > 0] > 0).all()


@pytest.mark.parametrize("score", [0.31, 0.49, 0.6, 1.0, 1.39, 3.0, 0.1])
def test_a_score_is_within_a_step_of_one_minus_p(score):
    assert abs(UNIT.score(score) - (1 - conformal_p(HEALTHY, score))) <= 2 / (len(HEALTHY) + 1)


@pytest.mark.parametrize("rank", [1, 3, 4, 5])
def test_healthy_scores_have_their_rank(rank):
    assert UNIT.score(HEALTHY[rank - 1]) == pytest.approx(rank / 6)


def test_one_healthy_score_is_enough():
    assert Unit(half=1.0, healthy=(2.0,)).score(2.0) == 0.5
    assert Unit(half=1.0, healthy=(0.0,)).score(-1.0) < 0.5 < Unit(half=1.0, healthy=(0.0,)).score(1.0)


def test_without_healthy_scores_a_score_is_a_map_value():
    assert Unit(half=2.0).score(2.0) == 0.5
    assert Unit(half=0.0).score(0.25) == 0.25
    assert Unit(half=2.0).words == {"map": HALVED, "score": HALVED}


def _calibration(*, probability):
    rng = np.random.default_rng(0)
    voxels = ScoreHistogram()
    voxels.add(rng.gamma(2.0, 0.1, 100_000).astype(np.float32).clip(0, 1))
    return Calibration.from_healthy(voxels, [0.2, 0.1], probability=probability)


def test_maps_are_halved_at_the_top_of_the_colour_scale():
    calibration = _calibration(probability=False)
    unit = Unit.of(calibration)
    top = calibration.scale["high"]
    np.testing.assert_allclose(unit.map(np.float32([0, top, 3 * top])), [0, 0.5, 0.75], rtol=1e-6)
    assert unit.healthy == (0.1, 0.2)
    assert unit.words == {"map": HALVED, "score": RANK}


def test_probabilities_stay():
    unit = Unit.of(_calibration(probability=True))
    np.testing.assert_array_equal(unit.map(np.float32([0, 0.3, 1.0])), np.float32([0, 0.3, 1]))
    assert unit.words["map"] == PROBABILITY


def test_float16_keeps_the_order_that_healthy_quantiles_would_lose():
    """Halved, lesions lose nothing to float16; as healthy quantiles they tie."""
    rng = np.random.default_rng(1)
    healthy, lesion = rng.gamma(2.0, 0.1, 200_000), 1.0 + rng.gamma(2.0, 0.4, 2000)
    bright = 1.0 + rng.gamma(2.0, 0.1, 500)  # false positives below most of the lesion
    values = np.concatenate([healthy, bright, lesion]).astype(np.float32)
    truth = np.arange(values.size) >= healthy.size + bright.size
    exact = VoxelHistogram()
    exact.add(values, truth)
    top = 2 * float(np.quantile(healthy, 0.999))
    quantiles = np.searchsorted(np.sort(healthy), values) / (healthy.size + 1)
    kept = curve(count(Unit(half=top).map(values), truth)).ap
    lost = curve(count(quantiles.astype(np.float32), truth)).ap
    assert kept == pytest.approx(exact.curve().ap, abs=1e-3)
    assert lost < kept - 0.05
