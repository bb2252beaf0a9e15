"""Samplers: from noise to image, from image to noise, in few steps, and exactly there and back.

``times`` is a list of steps, as :meth:`aberra.diffusion.schedule.Schedule.times` gives it; a step
costs one call of the denoiser (two for the coupled sampler). A denoiser maps (x_t, t) to
an :class:`~aberra.diffusion.schedule.Estimate`; guidance is inside.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import expm1
from typing import TYPE_CHECKING, Literal, get_args

import torch

from aberra.diffusion.noise import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from aberra.diffusion.schedule import Estimate, Schedule

    Denoise = Callable[[Tensor, int], Estimate]
    Noise = Callable[[int, Tensor], Tensor]

Sampler = Literal["ddim", "ddpm", "dpm-solver"]
"""Names of :func:`sample`."""

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)

INVERTIBLE = ("ddim", "dpm-solver", "coupled")
"""Names of samplers that also encode."""


GAUSSIAN: Noise = partial(shared, "gaussian")
"""Noise by number: (seed, like) to (1, C, S)."""


def sample(
    name: str,
    denoise: Denoise,
    x: Tensor,
    times: Sequence[int],
    schedule: Schedule,
    *,
    seed: int = 0,
    noise: Noise = GAUSSIAN,
) -> Tensor:
    """Go from x_t at ``times[0]`` to ``times[-1]``, (B, C, S), with a sampler by name; ``seed`` and
    ``noise`` are of DDPM's steps.
    """
    if name == "ddpm":
        return ddpm(denoise, x, times, schedule, seed=seed, noise=noise)
    return (ddim if name == "ddim" else dpm_solver)(denoise, x, times, schedule)


def ddim(denoise: Denoise, x: Tensor, times: Sequence[int], schedule: Schedule) -> Tensor:
    """DDIM, σ = 0 (Song, Meng, Ermon 2021, eq. 12): down, or up (reverse-ODE encoder) where
    ``times`` ascend.

    Going up, ε̂ is taken at the lower step, which is Euler's method backwards and *not* an exact
    inverse; the error falls with the number of steps. At t = 0 the network is asked as at t = 1.
    """
    for t, s in pairwise(times):
        found = denoise(x, max(t, 1))
        x = schedule.add_noise(found.image if t else x, found.noise, s)
    return x


def ddpm(
    denoise: Denoise,
    x: Tensor,
    times: Sequence[int],
    schedule: Schedule,
    *,
    seed: int = 0,
    noise: Noise = GAUSSIAN,
) -> Tensor:
    """Ancestral sampling (Ho, Jain, Abbeel 2020, algorithm 2).

    ``times`` may be a subset of the steps (Nichol & Dhariwal 2021, §4). The noise of a step depends
    on ``seed`` and the step alone and is shared by the batch. No noise at the last step.
    """
    for t, s in pairwise(times):
        found = denoise(x, t)
        mean, low, high = schedule.posterior(found.image, x, t, s)
        if s == 0:
            x = mean
            continue
        log_variance = low.log()
        if found.spread is not None:
            log_variance = found.spread * high.log() + (1 - found.spread) * low.log()
        x = mean + torch.exp(0.5 * log_variance) * noise(seed * 100_003 + t, x)
    return x


def dpm_solver(denoise: Denoise, x: Tensor, times: Sequence[int], schedule: Schedule) -> Tensor:
    """DPM-Solver++(2M), data prediction (Lu et al. 2022, algorithm 2): second order for one call a
    step, down or up.

    The step to or from t = 0, where the log signal-to-noise ratio λ is infinite, and the first are
    of first order (DDIM). Going up it is the same multistep rule in noise prediction.
    """
    previous: tuple[Tensor, float] | None = None
    for t, s in pairwise(times):
        found = denoise(x, max(t, 1))
        if t == 0 or s == 0:
            x = schedule.add_noise(found.image if t else x, found.noise, s)
            previous = None
            continue
        here, there = (_log_snr(schedule, each) for each in (t, s))
        step = there - here
        value = found.image if s < t else found.noise
        bent = value
        if previous is not None:
            ratio = previous[1] / step
            bent = (1 + 1 / (2 * ratio)) * value - 1 / (2 * ratio) * previous[0]
        previous = (value, step)
        (root, rest), (root_s, rest_s) = (_scales(schedule, each, x) for each in (t, s))
        if s < t:
            x = rest_s / rest * x - root_s * expm1(-step) * bent
        else:
            x = root_s / root * x - rest_s * expm1(step) * bent
    return x


def coupled(
    denoise: Denoise,
    pair: tuple[Tensor, Tensor],
    times: Sequence[int],
    schedule: Schedule,
    *,
    mix: float = 0.93,
) -> tuple[Tensor, Tensor]:
    """EDICT (Wallace, Gokul, Naik 2023, eqs. 13–15): two coupled DDIM chains, each moved by the
    other's ε̂; an exact inverse.

    Going up undoes going down to rounding: states are kept in float64, and the network sees the
    same numbers on both ways. Two calls of the denoiser a step.

    Args:
        denoise: its input is float32.
        pair: the two chains, float64; both the image at t = 0.
        times: ascending encodes, descending decodes.
        schedule: of the process.
        mix: p; below 1 the chains are drawn together after each step, and rounding is amplified by
            1/p² a step on the way up.
    """
    x, y = (each.double() for each in pair)

    def noise(state: Tensor, t: int) -> Tensor:
        return denoise(state.float(), t).noise.double()

    for here, there in pairwise(times):
        t, s = max(here, there), min(here, there)
        level, goal = schedule.at(t, x), schedule.at(s, x)
        scale = (goal / level).sqrt()
        shift = (1 - goal).sqrt() - (goal * (1 - level) / level).sqrt()
        if there < here:
            x = scale * x + shift * noise(y, t)
            y = scale * y + shift * noise(x, t)
            x = mix * x + (1 - mix) * y
            y = mix * y + (1 - mix) * x
        else:
            y = (y - (1 - mix) * x) / mix
            x = (x - (1 - mix) * y) / mix
            y = (y - shift * noise(x, t)) / scale
            x = (x - shift * noise(y, t)) / scale
    return x, y


def _log_snr(schedule: Schedule, t: int) -> float:
    """λ = log(√ᾱ / √(1 − ᾱ))."""
    level = schedule.alpha_bar[t]
    return float(0.5 * (level.log() - torch.log1p(-level)))


def _scales(schedule: Schedule, t: int, like: Tensor) -> tuple[Tensor, Tensor]:
    level = schedule.at(t, like)
    return level.sqrt(), (1 - level).sqrt()
