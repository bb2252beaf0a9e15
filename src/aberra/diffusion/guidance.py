"""Guidance: bend ε̂ towards what another network wants to see."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from aberra.diffusion.samplers import Denoise
    from aberra.diffusion.schedule import Estimate, Schedule

    Objective = Callable[[Tensor, int], Tensor]

Guide = Literal["class", "area", "mask", "age"]
GUIDES: tuple[Guide, ...] = get_args(Guide)
"""What a guide may say of an image; see :class:`aberra.capabilities.HasGuides`."""
NUMBERS = ("area", "age")
"""Guides that say a number, which can be asked for, or made larger or smaller."""
HEALTHY, DISEASED = 0, 1
"""Classes."""


def guided(
    denoise: Denoise, objective: Objective, schedule: Schedule, *, clip: tuple[Tensor, Tensor] | None = None
) -> Denoise:
    """Bend a denoiser: ε̂ = ε − √(1 − ᾱ_t)·∇ₓ f(x_t, t) (Dhariwal & Nichol 2021, algorithm 2;
    Wolleb et al. 2022).

    The posterior mean is linear in ε̂, so for DDPM's ancestral step the same bend shifts the mean
    by (β_t/√α_t)·∇f: algorithm 1's Σ·∇f with the upper bound β of the variance.

    Args:
        denoise: what is bent.
        objective: f of each image, (B, C, S) and t to (B,), higher is better: s·log p(healthy |
            x_t, t), or a sum of such terms. It is asked in float32 with autograd on.
        schedule: of the process.
        clip: bounds of x̂₀ after guidance, each broadcastable to (B, C, S); ε̂ follows.
    """

    def bent(x: Tensor, t: int) -> Estimate:
        found = denoise(x, t)
        noise = found.noise - (1 - schedule.at(t, x)).sqrt() * slope(objective, x, t)
        changed = schedule.estimate(noise, x, t, "noise")
        if clip is not None:
            changed = schedule.estimate(changed.image.clamp(*clip), x, t, "image")
        return replace(changed, spread=found.spread)

    return bent


def held(denoise: Denoise, times: Sequence[int], schedule: Schedule) -> Denoise:
    """Ask a denoiser at ``times`` only, and hold its ε̂ in between.

    DDIM on :func:`refined` times then moves as it would on ``times``, while a guide around this
    denoiser is asked at every step: where guidance is strong, its gradient turns faster than ε
    does, and it is the cheaper of the two.
    """
    asked = frozenset(times)
    last: list[Estimate] = []

    def holding(x: Tensor, t: int) -> Estimate:
        if t in asked or not last:
            last[:] = [denoise(x, t)]
            return last[0]
        return schedule.estimate(last[0].noise, x, t, "noise")

    return holding


def refined(times: Sequence[int], parts: int) -> list[int]:
    """Falling steps with each gap cut into ``parts``, or fewer where there are no more steps in it."""
    fine = [times[0]]
    for here, there in pairwise(times):
        count = min(parts, here - there)
        fine += [round(here + (there - here) * part / count) for part in range(1, count + 1)]
    return fine


def slope(objective: Objective, x: Tensor, t: int) -> Tensor:
    """∇ₓ f(x, t) of each image, (B, C, S)."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        asked = x.detach().float().requires_grad_()
        (found,) = torch.autograd.grad(objective(asked, t).sum(), asked)
    return found.to(x)


def without_classifier(
    conditional: Denoise, unconditional: Denoise, schedule: Schedule, *, weight: float
) -> Denoise:
    """Classifier-free guidance: ε̂ = ε_∅ + w·(ε_y − ε_∅) (Ho & Salimans 2021 write 1 + w for our
    w).
    """

    def bent(x: Tensor, t: int) -> Estimate:
        wanted, free = conditional(x, t), unconditional(x, t)
        noise = free.noise + weight * (wanted.noise - free.noise)
        return replace(schedule.estimate(noise, x, t, "noise"), spread=wanted.spread)

    return bent
