from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.diffusion.schedule import KINDS, PREDICTS, Schedule
from aberra.errors import ConfigError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_signal_falls_strictly_from_one(kind, steps):
    level = Schedule(kind=kind, steps=steps).alpha_bar
    assert len(level) == steps + 1
    assert level[0] == 1
    assert (level.diff() < 0).all()
    assert 0 < level[-1] < 0.01


@pytest.mark.parametrize(("kind", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_schedules_are_those_of_diffusers(kind, theirs):
    diffusers = pytest.importorskip("diffusers")
    expected = diffusers.DDPMScheduler(beta_schedule=theirs).alphas_cumprod.double()
    torch.testing.assert_close(Schedule(kind=kind).alpha_bar[1:], expected, atol=2e-6, rtol=1e-3)


def test_log_snr_runs_from_15_to_minus_15_symmetrically():
    level = Schedule(kind="log-snr").alpha_bar[1:]
    snr = torch.logit(level)
    assert snr[-1] == pytest.approx(-15, abs=1e-6)
    torch.testing.assert_close(snr[:-1], -snr[:-1].flip(0))
    assert 12 < snr[0] < 15


@pytest.mark.parametrize(
    ("count", "start"), [(1, 1), (1, 1000), (7, 500), (50, None), (500, 20), (1000, None)]
)
def test_times_begin_at_the_start_end_at_zero_and_fall(count, start):
    times = Schedule().times(count, start)
    assert times[0] == (start or 1000)
    assert times[-1] == 0
    assert all(a > b for a, b in pairwise(times))
    assert len(times) == min(count, times[0]) + 1
    gaps = [a - b for a, b in pairwise(times)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("count", "start"), [(1, 1), (7, 500), (34, 250), (240, 250), (1000, None)])
def test_a_power_makes_times_denser_near_the_image_without_a_step_twice(count, start):
    times = Schedule().times(count, start, 1.5)
    assert (times[0], times[-1], len(times)) == (start or 1000, 0, count + 1)
    assert all(a > b for a, b in pairwise(times))
    gaps = [a - b for a, b in pairwise(times)]
    assert gaps[0] >= gaps[-1]
    if count == 34:
        assert times[17] == round(250 * 0.5**1.5)
        assert gaps[0] > 5 * gaps[-1]


@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_prediction_gives_image_and_noise_back(kind, predicts, noise):
    schedule = Schedule(kind=kind, steps=100)
    image, t = torch.rand_like(noise), torch.tensor([3, 90])
    noisy = schedule.add_noise(image, noise, t)
    found = schedule.estimate(schedule.target(image, noise, t, predicts), noisy, t, predicts)
    torch.testing.assert_close(found.image, image)
    torch.testing.assert_close(found.noise, noise)
    # one step for all images is the same as a step each
    single = schedule.estimate(schedule.target(image, noise, 90, predicts), noisy, 90, predicts)
    torch.testing.assert_close(single.image[1], image[1])


def test_noise_has_the_strength_the_schedule_says(noise):
    schedule = Schedule()
    torch.testing.assert_close(schedule.add_noise(noise, torch.zeros_like(noise), 300) / noise,
                               schedule.alpha_bar[300].sqrt().expand_as(noise))  # fmt: skip
    assert torch.equal(schedule.add_noise(noise, torch.ones_like(noise), 0), noise)


@pytest.mark.parametrize(("t", "s"), [(500, 499), (500, 100), (1000, 1)])
def test_the_posterior_is_bayes_rule(t, s, noise):
    """q(x_s | x_t, x₀) ∝ q(x_t | x_s)·q(x_s | x₀): precisions add."""
    schedule = Schedule()
    image, noisy = noise, noise.flip(0)
    at_t, at_s = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[s])
    alpha = at_t / at_s
    variance = 1 / (alpha / (1 - alpha) + 1 / (1 - at_s))
    mean = variance * (alpha**0.5 * noisy / (1 - alpha) + at_s**0.5 * image / (1 - at_s))
    found, low, high = schedule.posterior(image, noisy, t, s)
    torch.testing.assert_close(found, mean)
    assert float(low) == pytest.approx(variance)
    assert float(high) == pytest.approx(1 - alpha)


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match="linear"):
        Schedule(kind="linaer")
    with pytest.raises(ConfigError, match="2 or more"):
        Schedule(steps=1)
    for count, start in ((0, 10), (5, 0), (5, 1001)):
        with pytest.raises(ConfigError, match="from 1 to 1000"):
            Schedule().times(count, start)
