"""Noise a scan half-way, denoise it again, compare (AnoDDPM), once or many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from aberra.diffusion.samplers import Sampler, sample
from aberra.options import Count, Positive, Share, Sigma, Step, configured
from aberra.scores import Scored
from aberra.scores.monte_carlo import MonteCarlo, Of
from aberra.scores.perceptual import perceptual_distance
from aberra.scores.residual import Mode, Residual
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from torch import Tensor

    from aberra.capabilities import Denoises
    from aberra.detector.windows import Runner


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


class Draws:
    """Gives a denoiser the capabilities ``Reconstructs`` and ``SamplesReconstructions``, by a chain of the score's choice."""

    def __init__(self, model: Denoises, chain: Chain, count: int) -> None:
        self.model = model
        self.chain = chain
        self.count = count

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Yield x̂ by noise 0, 1, ..., (B, C, S) each."""
        for draw in range(count):
            yield self.chain(self.model, x, draw)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Mean of the draws, (B, C, S)."""
        total = torch.zeros_like(x, dtype=torch.float32)
        for restored in self.sample_reconstructions(x, self.count):
            total += restored
        return total / self.count


class PartialDiffusion:
    """``|x − x̂|``, x̂ = the scan after noise to step ``start`` and denoising from there; x̂ is the mean of ``draws`` such versions.

    Wyatt, Leach, Schmon, Willcocks 2022 (AnoDDPM, CVPR Workshops): noise that is strong enough to drown a lesion, weak enough for the
    anatomy to survive; start 250 of 1000, every step, one draw.

    Args:
        start: step up to which noise is added.
        steps: calls of the network a draw, evenly spread from ``start`` down; published: every step.
        sampler: ``ddpm`` (published; noise of the steps is of the kind the model was trained with), ``ddim`` or ``dpm-solver``.
        draws: repetitions with different noise.
        of: ``residual`` of the mean of the draws, or ``variance`` or ``std`` over the draws, as in
            :class:`aberra.scores.monte_carlo.MonteCarlo`.
        mode: of the residual, as in :class:`aberra.scores.residual.Residual`, or ``perceptual`` (absolute residual times
            :func:`aberra.scores.perceptual.perceptual_distance`).
        centre: as there.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.
        alpha: as there.
        data_range: as there.

    Raises:
        ConfigError: unknown option or a number out of range; a start beyond the model's last step.

    Deviation: the paper squares the difference.
    """

    name = "partial-diffusion"
    needs: tuple[str, ...] = ("Denoises",)

    @configured("score")
    def __init__(
        self,
        *,
        start: Step = 250,
        steps: Step = 50,
        sampler: Sampler = "ddpm",
        draws: Count = 1,
        of: Of = "residual",
        mode: Mode | Literal["perceptual"] = "absolute",
        centre: bool = False,
        smooth: Sigma = 0.0,
        alpha: Share | None = None,
        data_range: Positive | None = None,
    ) -> None:
        self.chain = Chain(start, steps, sampler)
        self.draws = draws
        self.of = of
        self.spread = MonteCarlo(of=of, draws=draws, smooth=smooth)
        self.perceptual = mode == "perceptual"
        self.smooth = smooth
        self.residual = Residual(
            mode="absolute" if mode == "perceptual" else mode,
            centre=centre,
            # the product is smoothed, not its factor
            smooth=0.0 if self.perceptual else smooth,
            alpha=alpha,
            data_range=data_range,
        )
        self.unit = self.residual.unit if of == "residual" and not self.perceptual else ""
        if self.perceptual:
            self.needs = ("Denoises", "HasFeatures")

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        draws = Draws(model, self.chain, self.draws)
        if self.of != "residual":
            return self.spread(draws, x, mask, run)
        if not self.perceptual:
            return self.residual(draws, x, mask, run)

        def both(batch: Tensor) -> Tensor:
            restored = draws.reconstruct(batch)
            return torch.cat([restored, perceptual_distance(model, batch, restored)], dim=1)

        found = run(both, x, mask)
        restored, distance = found[:-1], found[-1]
        values = self.residual.compare(x, restored, mask, run.dims) * distance
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), restored * mask)
