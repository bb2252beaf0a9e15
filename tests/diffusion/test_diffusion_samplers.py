from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.diffusion.samplers import INVERTIBLE, SAMPLERS, coupled, ddim, ddpm, dpm_solver, sample
from aberra.diffusion.schedule import PREDICTS, Estimate, Schedule
from aberra.models.ddpm import DDPM, variational_bound
from aberra.nets.diffusion_unet import DiffusionUNet

SHAPE = (1, 1, 8, 8)
THEIRS = {"noise": "epsilon", "image": "sample", "velocity": "v_prediction"}


def _network(channels=1, size=8):
    """A random network that is no identity: the zeroed layers are drawn, too."""
    torch.manual_seed(0)
    net = DiffusionUNet(
        channels=channels,
        out=channels,
        size=(size, size),
        width=4,
        multipliers=(1, 2),
        blocks=1,
        attention=(),
    )
    for weight in net.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.2)
    return net.eval().requires_grad_(requires_grad=False)


def _output(net, x, t):
    return net(x.float(), torch.full((len(x),), t)).to(x)


def _denoiser(net, schedule, predicts="noise"):
    return lambda x, t: schedule.estimate(_output(net, x, t), x, t, predicts)


def _start(batch=1):
    return torch.randn(batch, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


def _scheduler(name, schedule, **options):
    """A scheduler of diffusers that has our signal levels in full precision."""
    diffusers = pytest.importorskip("diffusers")
    betas = (1 - schedule.alpha_bar[1:] / schedule.alpha_bar[:-1]).numpy()
    theirs = getattr(diffusers, name)(num_train_timesteps=schedule.steps, trained_betas=betas, **options)
    theirs.alphas_cumprod = schedule.alpha_bar[1:]
    return theirs


# -- against diffusers: our step t is their index t − 1 --------------------------------------------


@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_ddim_is_that_of_diffusers(predicts, kind):
    schedule, net = Schedule(kind=kind), _network()
    theirs = _scheduler(
        "DDIMScheduler",
        schedule,
        prediction_type=THEIRS[predicts],
        clip_sample=False,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(10)
    x = _start()
    for index in theirs.timesteps.tolist():
        x = theirs.step(_output(net, x, index + 1), index, x).prev_sample
    found = ddim(_denoiser(net, schedule, predicts), _start(), schedule.times(10), schedule)
    torch.testing.assert_close(found, x, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_ddim_upwards_is_the_inverse_scheduler_of_diffusers(predicts):
    schedule, net = Schedule(), _network()
    theirs = _scheduler(
        "DDIMInverseScheduler",
        schedule,
        prediction_type=THEIRS[predicts],
        clip_sample=False,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(10)
    # theirs never leaves the clean image: it begins at the first step above it
    times = schedule.times(10)[::-1][1:]
    x = _start()
    for t, s in pairwise(times):
        x = theirs.step(_output(net, x, t), s - 1, x).prev_sample
    found = ddim(_denoiser(net, schedule, predicts), _start(), times, schedule)
    torch.testing.assert_close(found, x, atol=1e-4, rtol=1e-3)


# with a learned variance on fewer steps theirs takes β of the full schedule, not of the step
# (Nichol & Dhariwal 2021, eq. 19)
@pytest.mark.parametrize(("count", "learned"), [(10, False), (100, False), (100, True)])
def test_ddpm_is_that_of_diffusers_with_the_same_noise(learned, count):
    schedule, net = Schedule(steps=100), _network()
    theirs = _scheduler(
        "DDPMScheduler",
        schedule,
        clip_sample=False,
        variance_type="learned_range" if learned else "fixed_small",
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(count)

    def spread(x):
        return torch.tanh(3 * x)  # in [−1, 1], as a network's

    def denoise(x, t):
        found = schedule.estimate(_output(net, x, t), x, t, "noise")
        return Estimate(found.image, found.noise, (spread(x) + 1) / 2 if learned else None)

    x = _start()
    for index in theirs.timesteps.tolist():
        output = _output(net, x, index + 1)
        told = torch.cat([output, spread(x)], dim=1) if learned else output
        generator = torch.Generator().manual_seed(5 * 100_003 + index + 1)
        x = theirs.step(told, index, x, generator=generator).prev_sample
    found = ddpm(denoise, _start(), schedule.times(count), schedule, seed=5)
    torch.testing.assert_close(found, x, atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize("count", [1, 2, 10, 20])
def test_dpm_solver_is_that_of_diffusers(predicts, count):
    schedule, net = Schedule(), _network()
    theirs = _scheduler(
        "DPMSolverMultistepScheduler",
        schedule,
        prediction_type=THEIRS[predicts],
        algorithm_type="dpmsolver++",
        solver_order=2,
        lower_order_final=True,
    )
    times = schedule.times(count)
    theirs.set_timesteps(timesteps=[t - 1 for t in times[:-1]])
    x = _start()
    for index in theirs.timesteps.tolist():
        x = theirs.step(_output(net, x, index + 1), index, x).prev_sample
    found = dpm_solver(_denoiser(net, schedule, predicts), _start(), times, schedule)
    torch.testing.assert_close(found, x, atol=2e-4, rtol=1e-3)


# -- against closed forms --------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "tolerance"), [(ddim, 5e-3), (dpm_solver, 1e-3)])
def test_many_steps_map_the_prior_to_the_data(sampler, tolerance, gaussian, noise):
    world = gaussian()
    found = sampler(world.denoise, noise, world.schedule.times(1000), world.schedule)
    torch.testing.assert_close(found, world.carried(noise, 1000, 0), atol=tolerance, rtol=0.0)
    torch.testing.assert_close(found, 0.7 + 0.4 * noise, atol=tolerance + 0.01, rtol=0.0)


def _error(sampler, world, times, x):
    return float(
        (sampler(world.denoise, x, times, world.schedule) - world.carried(x, times[0], times[-1])).abs().max()
    )


@pytest.mark.parametrize("upwards", [False, True])
def test_ddim_is_of_first_and_dpm_solver_of_second_order(upwards, gaussian, noise):
    world = gaussian()

    def errors(sampler):
        steps = [list(range(100, 901, width)) for width in (20, 10, 5)]
        return [_error(sampler, world, each if upwards else each[::-1], noise) for each in steps]

    rough, fine, finest = errors(ddim)
    assert 1.7 < rough / fine < 2.3
    assert 1.8 < fine / finest < 2.2
    rough, fine, finest = errors(dpm_solver)
    assert rough / fine > 3.2
    assert 3.5 < fine / finest < 5.5
    assert rough < 0.2 * errors(ddim)[0]


def test_ten_steps_of_dpm_solver_are_closer_than_ten_of_ddim(gaussian, noise):
    world = gaussian()
    # the step to t = 0 is of first order in both, and its error is most of either's
    whole, without_last = world.schedule.times(10), world.schedule.times(10)[:-1]
    assert _error(dpm_solver, world, whole, noise) < _error(ddim, world, whole, noise)
    assert _error(dpm_solver, world, without_last, noise) < 0.5 * _error(ddim, world, without_last, noise)


@pytest.mark.parametrize("sampler", [ddim, dpm_solver])
def test_encoding_and_decoding_come_closer_with_more_steps(sampler, gaussian, noise):
    world = gaussian()
    image = 0.7 + 0.4 * noise

    def error(count):
        times = world.schedule.times(count, 600)
        code = sampler(world.denoise, image, times[::-1], world.schedule)
        return float((sampler(world.denoise, code, times, world.schedule) - image).abs().max())

    few, some, many = (error(count) for count in (10, 50, 300))
    assert few > 2 * some > 4 * many > 0
    assert many < 0.03


def test_ancestral_sampling_draws_from_the_data(gaussian):
    world = gaussian()
    start = torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(2))
    found = ddpm(world.denoise, start, world.schedule.times(1000), world.schedule)
    assert float(found.mean()) == pytest.approx(0.7, abs=0.02)
    assert float(found.std()) == pytest.approx(0.4, abs=0.015)


def test_the_coupled_sampler_returns_exactly_and_ddim_does_not():
    schedule, net = Schedule(), _network(size=16)
    denoise = _denoiser(net, schedule)
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    times = schedule.times(20, 400)
    code = coupled(denoise, (image, image), times[::-1], schedule)
    assert float((code[0] - image).abs().max()) > 0.1
    for back in coupled(denoise, code, times, schedule):
        torch.testing.assert_close(back, image, atol=1e-9, rtol=0.0)
    again = ddim(denoise, ddim(denoise, image, times[::-1], schedule), times, schedule)
    assert float((again - image).abs().max()) > 1e-4


def test_the_coupled_chains_agree_with_ddim_in_the_limit(gaussian, noise):
    world = gaussian()
    times = world.schedule.times(500)
    for chain in coupled(world.denoise, (noise, noise), times, world.schedule):
        torch.testing.assert_close(chain, world.carried(noise, 1000, 0), atol=0.05, rtol=0.0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_do_not_depend_on_the_batch_and_end_at_the_image(name):
    schedule, net = Schedule(steps=50), _network()
    x, times = _start(3), schedule.times(5)
    denoise = _denoiser(net, schedule, "image")
    found = sample(name, denoise, x, times, schedule, seed=4)
    alone = torch.cat([sample(name, denoise, each[None], times, schedule, seed=4) for each in x])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-4)
    # a denoiser that is sure of one image ends there from anywhere
    goal = torch.rand(SHAPE)
    sure = sample(name, lambda x, t: schedule.estimate(goal.expand_as(x), x, t, "image"), x, times, schedule)
    torch.testing.assert_close(sure, goal.expand_as(sure), atol=1e-5, rtol=0.0)
    other = sample(name, denoise, x, times, schedule, seed=5)
    assert torch.equal(found, other) == (name != "ddpm")
    assert name == "ddpm" or name in INVERTIBLE


# -- learned variance ------------------------------------------------------------------------------


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_a_learned_variance_lies_between_the_two_of_the_paper(v, gaussian, noise):
    world = gaussian()
    t, s, seed = 500, 400, 1

    def denoise(x, t):
        found = world.denoise(x, t)
        return Estimate(found.image, found.noise, torch.full_like(x, v))

    mean, low, high = world.schedule.posterior(world.denoise(noise, t).image, noise, t, s)
    drawn = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed * 100_003 + t)).double()
    variance = ((ddpm(denoise, noise, [t, s], world.schedule, seed=seed) - mean) / drawn) ** 2
    expected = (v * high.log() + (1 - v) * low.log()).exp()
    torch.testing.assert_close(variance, expected.expand_as(variance))
    assert low <= expected * (1 + 1e-9)
    assert expected <= high * (1 + 1e-9)


def test_the_network_says_a_share_between_the_two():
    torch.manual_seed(0)
    model = DDPM(channels=1, size=(8, 8), network={"width": 4, "multipliers": (1, 2)}, learned_variance=True)
    torch.nn.init.normal_(model.net.last.weight, std=5.0)
    spread = model.denoise(_start(4), 10).spread
    assert spread.min() == 0
    assert spread.max() == 1
    assert len(spread.unique()) > 2


def test_the_bound_is_zero_for_the_truth_and_the_closed_form_otherwise(noise):
    schedule, t = Schedule(), torch.tensor([2, 700])
    image = torch.rand_like(noise)
    noisy = schedule.add_noise(image, noise, t)
    certain = variational_bound(schedule, image, noisy, t, found=image, spread=torch.zeros_like(image))
    torch.testing.assert_close(certain, torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0.0)

    found, spread = image + 0.1 * noise, torch.rand_like(image)
    true, low, high = schedule.posterior(image, noisy, t, t - 1)
    mean, _, _ = schedule.posterior(found, noisy, t, t - 1)
    deviation = (0.5 * (spread * high.log() + (1 - spread) * low.log())).exp()
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(true, low.sqrt()), normal(mean, deviation))
    bits = variational_bound(schedule, image, noisy, t, found=found, spread=spread)
    torch.testing.assert_close(bits, kl.flatten(1).mean(dim=1) / torch.tensor(2.0).log())
    assert (bits > 0).all()


def test_the_first_steps_bound_is_the_likelihood_of_a_bin(noise):
    """At t = 1 the mean is x̂₀ and the variance between β̃₂ and β₁."""
    schedule, t = Schedule(), torch.ones(2, dtype=torch.long)
    image = torch.rand_like(noise)
    noisy = schedule.add_noise(image, noise, t)
    found = image + 0.01 * noise
    _, second, _ = schedule.posterior(image, noisy, 2, 1)
    bins = torch.distributions.Normal(found, second.sqrt())
    mass = bins.cdf(image + 1 / 255) - bins.cdf(image - 1 / 255)
    bits = variational_bound(schedule, image, noisy, t, found=found, spread=torch.zeros_like(image))
    expected = -mass.clamp(min=1e-12).log2().flatten(1).mean(dim=1)
    torch.testing.assert_close(bits, expected, atol=1e-6, rtol=1e-5)
