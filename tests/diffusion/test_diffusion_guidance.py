from __future__ import annotations

import pytest
import torch

from aberra.diffusion.guidance import guided, held, refined, slope, without_classifier
from aberra.diffusion.samplers import ddim, ddpm, dpm_solver

SEEN, TAU = -0.5, 0.6
"""A noisy look at every pixel, y = x₀ + τ·n."""


def _likelihood(world):
    """log p(y | x_t): y given x_t is Gaussian with the denoiser's mean and variance."""

    def objective(x, t):
        level = float(world.schedule.alpha_bar[t])
        spread = world.deviation**2 * (1 - level) / world.moments(t)[1] ** 2
        off = SEEN - world.denoise(x, t).image
        return -(off**2 / (2 * (spread + TAU**2))).flatten(1).sum(dim=1)

    return objective


def _posterior(world, make):
    """The world of x₀ given y: precisions add."""
    variance = 1 / (1 / world.deviation**2 + 1 / TAU**2)
    return make(variance * (world.mean / world.deviation**2 + SEEN / TAU**2), variance**0.5)


@pytest.mark.parametrize("t", [1, 50, 400, 1000])
def test_guided_by_a_likelihood_the_denoiser_is_that_of_the_posterior(t, gaussian, noise):
    world = gaussian()
    x = noise.float()
    found = guided(world.denoise, _likelihood(world), world.schedule)(x, t)
    expected = _posterior(world, gaussian).denoise(x, t)
    torch.testing.assert_close(found.noise, expected.noise, atol=2e-3 if t == 1 else 1e-4, rtol=1e-4)
    if t < 1000:
        torch.testing.assert_close(found.image, expected.image, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("sampler", [ddim, dpm_solver, ddpm])
def test_guidance_raises_the_objective(sampler, gaussian, noise):
    world = gaussian()
    objective = _likelihood(world)
    times = world.schedule.times(50)
    x = noise.float()
    free = sampler(world.denoise, x, times, world.schedule)
    led = sampler(guided(world.denoise, objective, world.schedule), x, times, world.schedule)
    away = sampler(
        guided(world.denoise, lambda x, t: -objective(x, t), world.schedule), x, times, world.schedule
    )

    def seen(image):
        return float(-((SEEN - image) ** 2).mean())

    assert seen(led) > seen(free) > seen(away)
    assert float(led.mean()) == pytest.approx(_posterior(world, gaussian).mean, abs=0.1)


def test_the_slope_is_the_gradient_of_each_image_alone(noise):
    x = noise.float()

    def cubes(x, t):
        return t * x.pow(3).flatten(1).sum(dim=1)

    found = slope(cubes, x, 2)
    torch.testing.assert_close(found, 6 * x**2)
    assert not x.requires_grad
    with torch.no_grad():
        again = slope(cubes, noise, 2)
    assert again.dtype == torch.float64
    torch.testing.assert_close(again.float(), found)


def test_clipping_bounds_the_image_and_the_noise_follows(gaussian, noise):
    world, t = gaussian(), 300
    level = world.schedule.alpha_bar[t]
    found = guided(world.denoise, _likelihood(world), world.schedule, clip=(0.2, 0.6))(noise, t)
    assert found.image.min() == pytest.approx(0.2)
    assert found.image.max() == pytest.approx(0.6)
    torch.testing.assert_close(level.sqrt() * found.image + (1 - level).sqrt() * found.noise, noise)


def test_without_a_classifier_the_weight_runs_from_unconditional_to_conditional_and_beyond(gaussian, noise):
    one, other, t = gaussian(), gaussian(mean=-0.3, deviation=0.8), 300

    def bent(weight):
        return without_classifier(other.denoise, one.denoise, one.schedule, weight=weight)(noise, t)

    for weight, expected in ((0.0, one.denoise(noise, t)), (1.0, other.denoise(noise, t))):
        torch.testing.assert_close(bent(weight).noise, expected.noise)
        torch.testing.assert_close(bent(weight).image, expected.image)
    step = other.denoise(noise, t).noise - one.denoise(noise, t).noise
    torch.testing.assert_close(bent(3.0).noise, one.denoise(noise, t).noise + 3 * step)

    # ε̂ of p(x)·p(y|x)^w is that of classifier guidance with the log ratio of the two worlds
    # as objective
    def ratio(x, t):
        logs = [torch.distributions.Normal(*world.moments(t)).log_prob(x) for world in (other, one)]
        return 3 * (logs[0] - logs[1]).flatten(1).sum(dim=1)

    led = guided(one.denoise, ratio, one.schedule)(noise, t)
    torch.testing.assert_close(led.noise, bent(3.0).noise, atol=1e-4, rtol=1e-4)


def test_refined_times_keep_the_given_ones_and_cut_what_lies_between():
    assert refined([500, 490, 488, 487, 0], 3) == [500, 497, 493, 490, 489, 488, 487, 325, 162, 0]
    assert refined([7, 3, 0], 1) == [7, 3, 0]


def test_ddim_on_refined_times_with_a_held_denoiser_goes_where_it_goes_on_the_coarse_ones(gaussian, noise):
    world, asked = gaussian(), []

    def denoise(x, t):
        asked.append(t)
        return world.denoise(x, t)

    times = world.schedule.times(10, 600, 1.5)
    coarse = ddim(denoise, noise.float(), times, world.schedule)
    assert asked == times[:-1]
    asked.clear()
    fine = ddim(held(denoise, times, world.schedule), noise.float(), refined(times, 4), world.schedule)
    assert asked == times[:-1]
    torch.testing.assert_close(fine, coarse, atol=1e-5, rtol=1e-5)


def test_more_steps_of_the_guide_come_nearer_to_what_many_calls_of_both_find(gaussian, noise):
    """A strong pull towards 1 at every level, which Euler's method overshoots."""
    world = gaussian()
    x = noise.float()

    def pull(x, t):
        del t
        return -20 * (x - 1).pow(2).flatten(1).sum(dim=1)

    def led(count, parts):
        times = world.schedule.times(count, 600)
        denoise = guided(held(world.denoise, times, world.schedule), pull, world.schedule)
        return ddim(denoise, x, refined(times, parts), world.schedule)

    many = led(600, 1)
    errors = [float((led(20, parts) - many).abs().mean()) for parts in (1, 2, 6)]
    assert errors[0] > 1.5 * max(errors[1:])  # what is left is that ε̂ was held
