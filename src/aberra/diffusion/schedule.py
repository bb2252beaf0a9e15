"""How much noise each step has, and how the three things that a network may predict turn into one
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan, exp
from typing import TYPE_CHECKING, Literal, get_args

import torch

from aberra.errors import ConfigError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["linear", "cosine", "log-snr"]
Predicts = Literal["noise", "image", "velocity"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PREDICTS: tuple[Predicts, ...] = get_args(Predicts)


@dataclass(frozen=True)
class Estimate:
    """What a denoiser sees in a noisy image.

    Attributes:
        image: x̂₀, shape (B, C, S).
        noise: ε̂, shape (B, C, S).
        spread: v in [0, 1] of the learned variance exp(v·log β + (1 − v)·log β̃), shape (B, C, S);
            None where it is fixed.
    """

    image: Tensor
    noise: Tensor
    spread: Tensor | None = None


class Schedule:
    """ᾱ_t of T steps: x_t = √ᾱ_t·x₀ + √(1 − ᾱ_t)·ε, with ᾱ₀ = 1.

    Args:
        kind: ``linear`` (β from 10⁻⁴ to 0.02 at T = 1000, Ho et al. 2020), ``cosine`` (Nichol &
            Dhariwal 2021, eq. 17) or ``log-snr`` (cosine in continuous time, log signal-to-noise
            from 15 to −15, as ANDi).
        steps: T.

    Raises:
        ConfigError: unknown kind or fewer than 2 steps.

    Examples:
        >>> from aberra.diffusion.schedule import Schedule
        >>> schedule = Schedule(kind="cosine", steps=1000)
        >>> schedule.times(4, start=400)
        [400, 300, 200, 100, 0]
    """

    def __init__(self, *, kind: str = "linear", steps: int = 1000) -> None:
        if kind not in KINDS:
            raise unknown("noise schedule", kind, KINDS)
        if steps < 2:
            raise ConfigError(f"timesteps={steps}; expected 2 or more")
        self.steps = steps
        # numbers, not weights: on the CPU also where a network is only planned, on the meta device
        time = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
        one = torch.ones(1, device="cpu")
        if kind == "linear":
            beta = torch.linspace(
                1e-4 * 1000 / steps, 0.02 * 1000 / steps, steps, dtype=torch.float64, device="cpu"
            )
            self.alpha_bar = torch.cat([one, (1 - beta.clamp(max=0.999)).cumprod(dim=0)])
        elif kind == "cosine":
            wave = torch.cos((time + 0.008) / 1.008 * torch.pi / 2) ** 2
            beta = (1 - wave[1:] / wave[:-1]).clamp(max=0.999)
            self.alpha_bar = torch.cat([one, (1 - beta).cumprod(dim=0)])
        else:
            low, high = atan(exp(-7.5)), atan(exp(7.5))
            self.alpha_bar = torch.sigmoid(-2 * torch.log(torch.tan(low + time * (high - low))))
            self.alpha_bar[0] = 1.0

    def at(self, t: Tensor | int, like: Tensor) -> Tensor:
        """ᾱ_t of each image, (B, 1, ...) or a scalar, in ``like``'s type and on its device."""
        if isinstance(t, int):
            return self.alpha_bar[t].to(like)
        found = self.alpha_bar.to(t.device)[t].to(like)
        return found.reshape(-1, *[1] * (like.ndim - 1))

    def times(self, count: int, start: int | None = None, power: float = 1.0) -> list[int]:
        """At most ``count`` steps from ``start`` (default T) down to 0, ``[start, ..., 0]``, at
        start·(i / count)^power.

        The grid is laid out from the start step, so the start is always on it. Evenly spread by
        default; above 1 it is denser near the image (Song, Meng, Ermon 2021, appendix D.2, have 2
        for CIFAR-10), where the noise level changes fastest relative to itself.

        Raises:
            ConfigError: the start is not a step of the schedule, no step is wanted, or the power is
                below 1.
        """
        start = self.steps if start is None else start
        if not 1 <= start <= self.steps or count < 1 or power < 1:
            raise ConfigError(
                f"{count} step(s) from step {start}, power {power:g}; expected 1 or more, from 1 to {self.steps}, and 1 or more"
            )
        count = min(count, start)
        rising = [0]
        for step in range(1, count + 1):  # no step twice where the grid is denser than the steps
            rising.append(max(round(start * (step / count) ** power), rising[-1] + 1))
        return rising[::-1]

    # -- between images, noise and what a network predicts -----------------------------------------

    def add_noise(self, image: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """x_t = √ᾱ_t·x₀ + √(1 − ᾱ_t)·ε; all (B, C, S)."""
        level = self.at(t, image)
        return level.sqrt() * image + (1 - level).sqrt() * noise

    def target(self, image: Tensor, noise: Tensor, t: Tensor | int, predicts: str) -> Tensor:
        """What a network that ``predicts`` noise, image or velocity (Salimans & Ho 2022, √ᾱ·ε −
        √(1−ᾱ)·x₀) should say.
        """
        if predicts == "noise":
            return noise
        if predicts == "image":
            return image
        level = self.at(t, image)
        return level.sqrt() * noise - (1 - level).sqrt() * image

    def estimate(self, output: Tensor, noisy: Tensor, t: Tensor | int, predicts: str) -> Estimate:
        """x̂₀ and ε̂ from a network's output at x_t, t ≥ 1."""
        level = self.at(t, noisy)
        root, rest = level.sqrt(), (1 - level).sqrt()
        if predicts == "noise":
            return Estimate((noisy - rest * output) / root, output)
        if predicts == "image":
            return Estimate(output, (noisy - root * output) / rest)
        return Estimate(root * noisy - rest * output, rest * noisy + root * output)

    def posterior(
        self, image: Tensor, noisy: Tensor, t: Tensor | int, s: Tensor | int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q(x_s | x_t, x₀) for s < t: mean (B, C, S), variance β̃ and β of the step; at s = t − 1
        the paper's (DDPM eq. 7).
        """
        before, level = self.at(s, noisy), self.at(t, noisy)
        alpha = level / before
        beta = 1 - alpha
        mean = (before.sqrt() * beta * image + alpha.sqrt() * (1 - before) * noisy) / (1 - level)
        return mean, (1 - before) / (1 - level) * beta, beta
