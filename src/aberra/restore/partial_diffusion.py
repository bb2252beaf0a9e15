"""Noise a scan half-way, denoise it again (AnoDDPM), once or many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aberra.capabilities import Denoises
from aberra.diffusion.samplers import Sampler, sample
from aberra.options import Count, Step, configured
from aberra.restore import Restored, Restores, mean_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """How far up in noise, and how down again.

    Attributes:
        start: step whose noise is added.
        steps: calls of the network on the way down, at most ``start``.
        sampler: ``ddpm``, ``ddim`` or ``dpm-solver``.

    Raises:
        ConfigError: in use, a start beyond the model's last step.
    """

    start: Step
    steps: Step
    sampler: Sampler

    def __call__(self, model: Denoises, x: Tensor, draw: int = 0) -> Tensor:
        """x̂ of a batch (B, C, S) by noise number ``draw``, which the whole batch shares."""
        process = model.process()
        times = process.times(self.steps, self.start)
        noisy = process.add_noise(x, model.noise(draw, x), self.start)
        return sample(self.sampler, model.denoise, noisy, times, process, seed=draw, noise=model.noise)


class PartialDiffusion(Restores):
    """x̂ = the scan after noise to step ``start`` and denoising from there, the mean of ``draws``
    such versions.

    Wyatt, Leach, Schmon, Willcocks 2022 (AnoDDPM, CVPR Workshops): noise that is strong enough to
    drown a lesion, weak enough for the anatomy to survive; start 250 of 1000, every step, one draw.

    Args:
        start: step up to which noise is added.
        steps: calls of the network a draw, evenly spread from ``start`` down; published: every
            step.
        sampler: ``ddpm`` (published; noise of the steps is of the kind the model was trained with),
            ``ddim`` or ``dpm-solver``.
        draws: repetitions with different noise.
        average: compare the mean of the draws; else each of them.

    Raises:
        ConfigError: unknown option or a number out of range; a start beyond the model's last step.

    Deviation: the paper squares the difference, our comparison does not.
    """

    name = "partial-diffusion"
    needs = (Denoises,)

    @configured("score.restore")
    def __init__(
        self,
        *,
        start: Step = 250,
        steps: Step = 50,
        sampler: Sampler = "ddpm",
        draws: Count = 1,
        average: bool = True,
    ) -> None:
        self.chain = Chain(start, steps, sampler)
        self.draws = draws
        self.average = average
        self.several = draws > 1 and not average

    def __call__(self, model: Denoises, x: Tensor) -> Iterator[Restored]:
        """Yield the healthy versions of a batch (B, C, S)."""
        images = (self.chain(model, x, draw) for draw in range(self.draws))
        yield from map(Restored, [mean_image(images)] if self.average else images)
