from __future__ import annotations

import json

import numpy as np
import pytest

from aberra.detector.calibration import (
    MIN_GROUP,
    Calibration,
    ScoreHistogram,
    conformal_limit,
    golden_threshold,
)
from aberra.errors import CalibrationError, ConfigError


def _voxels(values):
    histogram = ScoreHistogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def test_histogram_quantiles_are_close_and_never_flag_more_than_asked():
    values = np.random.default_rng(0).gamma(2, 0.05, 200_000).astype(np.float32)
    histogram = ScoreHistogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    for q in (0.9, 0.95, 0.99, 0.999):
        found = histogram.quantile(q)
        assert found == pytest.approx(np.quantile(values, q), rel=1e-3)
        assert (values > found).mean() <= 1 - q


def test_thresholds_of_a_constant_map_flag_nothing():
    assert (
        np.array(list(Calibration.from_healthy(_voxels(np.ones(100)), [1.0]).thresholds.values())) < 1.0
    ).sum() == 0


def test_probabilities_have_a_fixed_threshold_of_their_own():
    voxels = _voxels(np.linspace(0, 0.01, 100))
    plain, told = (Calibration.from_healthy(voxels, [1.0], probability=each) for each in (False, True))
    assert told.threshold() == ("fixed-0.5", 0.5)
    assert told.scale == {"low": 0.0, "high": 1.0}
    assert told.thresholds == plain.thresholds | {"fixed-0.5": 0.5}
    assert plain.default == "healthy-fpr-1"
    with pytest.raises(ConfigError, match=r"fixed-0\.5"):
        plain.threshold("fixed-0.5")


def test_p_values_are_the_conformal_ones():
    calibration = Calibration.from_healthy(_voxels([0.1]), [1, 2, 3, 4])
    assert calibration.p_value(0.5) == 1.0
    assert calibration.p_value(3) == 3 / 5
    assert calibration.p_value(9) == 1 / 5


def test_p_values_keep_their_promise_on_average():
    rng = np.random.default_rng(0)
    flagged = []
    for _ in range(300):
        draws = rng.normal(size=60)
        calibration = Calibration.from_healthy(_voxels([0.1]), draws[:59])
        flagged.append(calibration.p_value(draws[59]) <= 0.1)
    assert np.mean(flagged) == pytest.approx(0.1, abs=0.05)


def test_groups_have_their_own_p_values_when_they_are_large_enough():
    scores = [*np.linspace(0, 1, MIN_GROUP), *np.linspace(10, 11, MIN_GROUP), 5.0]
    groups = ["a"] * MIN_GROUP + ["b"] * MIN_GROUP + ["c"]
    calibration = Calibration.from_healthy(_voxels([0.1]), scores, groups=groups, group_by="site")
    assert calibration.p_value(2.0, "a") == 1 / (MIN_GROUP + 1)
    assert calibration.p_value(2.0, "b") == 1.0
    assert set(calibration.groups) == {"a", "b"}
    assert any("site=c" in note for note in calibration.notes)
    assert calibration.p_value(2.0, "unknown") == calibration.p_value(2.0)


def test_round_trip_and_errors():
    calibration = Calibration.from_healthy(_voxels([0.1, 0.2]), [1.0])
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration
    with pytest.raises(ConfigError, match="Did you mean 'healthy-fpr-5'"):
        calibration.threshold("healthy-fpr-55")
    with pytest.raises(CalibrationError, match="no healthy voxels"):
        Calibration.from_healthy(ScoreHistogram(), [])
    assert Calibration.from_healthy(_voxels([0.1]), []).p_value(1.0) is None


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_golden_section_finds_the_exact_quantile(rate, seed):
    values = np.random.default_rng(seed).gamma(0.5, size=1000)  # steep at 0, a long tail
    span = float(values.max())
    found = golden_threshold(lambda at: float((values > at).mean()), 0.0, span, rate, tolerance=1e-9)
    exact = np.quantile(values, 1 - rate, method="inverted_cdf")
    assert found == pytest.approx(exact, abs=2e-9 * span)
    assert (values > found).mean() == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.77])
@pytest.mark.parametrize("seed", range(5))
def test_golden_section_is_nearest_to_the_rate_where_values_repeat(rate, seed):
    values = np.random.default_rng(seed).integers(0, 12, size=40).astype(float)

    def missed(at):
        return abs(float((values > at).mean()) - rate)

    found = golden_threshold(lambda at: float((values > at).mean()), -1.0, 13.0, rate)
    assert missed(found) == pytest.approx(min(missed(at) for at in range(-1, 13)))


def test_golden_section_agrees_with_the_calibrations_threshold():
    values = np.random.default_rng(0).gamma(0.5, size=100_000).astype(np.float32)
    histogram = ScoreHistogram()
    histogram.add(values)
    found = golden_threshold(lambda at: float((values > at).mean()), 0.0, float(values.max()), 0.05)
    assert histogram.quantile(0.95) == pytest.approx(found, rel=2**-11 + 1e-4)


def test_golden_section_refuses_what_cannot_be():
    for low, high, rate in ((1.0, 1.0, 0.5), (0.0, 1.0, 0.0), (0.0, 1.0, 1.0)):
        with pytest.raises(ConfigError):
            golden_threshold(lambda _: 0.0, low, high, rate)


def _site(scores, level):
    return Calibration.from_healthy(_voxels(level * np.linspace(0.01, 1, 1000)), scores)


def test_few_scans_of_a_site_move_scores_and_thresholds_to_it():
    rng = np.random.default_rng(0)
    here = _site(np.exp(0.1 * rng.normal(size=40)), 1.0)
    there = _site(2 * np.exp(0.1 * rng.normal(size=5)), 2.0)
    moved = here.adapted(there)
    assert np.median(moved.scores) == pytest.approx(2, rel=0.1)
    assert moved.n_cases == len(moved.scores) == 45
    for name, value in here.thresholds.items():
        assert moved.thresholds[name] == pytest.approx(2 * value, rel=0.05)
    assert here.p_value(2.0) < 0.05
    assert moved.p_value(2.0) > 0.2
    assert "adapted from 40 healthy cases by 5" in moved.notes[-1]
    assert Calibration.from_json(json.loads(json.dumps(moved.to_json()))) == moved


def test_a_site_like_the_old_one_moves_nothing():
    rng = np.random.default_rng(1)
    here = _site(np.exp(0.3 * rng.normal(size=40)), 1.0)
    same = here.adapted(_site([np.exp(np.mean(np.log(here.scores)))] * 3, 3.0))
    assert same.thresholds == here.thresholds
    assert set(here.scores) <= set(same.scores)


def test_a_site_needs_three_scans():
    here = _site([1.0, 2.0, 3.0], 1.0)
    with pytest.raises(CalibrationError, match="3 healthy case scores"):
        here.adapted(_site([1.0, 2.0], 1.0))


@pytest.mark.parametrize(("cases", "level"), [(19, 0.05), (39, 0.1), (24, 0.2)])
def test_a_further_healthy_case_goes_beyond_the_limit_as_often_as_promised(cases, level):
    rng = np.random.default_rng(cases)
    trials = 20_000
    draws = rng.gamma(2.0, size=(trials, cases + 1))
    beyond = np.mean([new > conformal_limit(healthy, level) for *healthy, new in draws])
    # at most the level, and no less than it by more than 1 / (n + 1), within four standard errors
    error = 4 * (level / trials) ** 0.5
    assert level - 1 / (cases + 1) - error <= beyond <= level + error


def test_too_few_healthy_values_have_no_limit():
    with pytest.raises(CalibrationError, match=r"18 healthy case\(s\) for a level of 0.05; it needs 19"):
        conformal_limit(range(18), 0.05)
