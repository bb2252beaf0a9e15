"""AutoDDPM: mask what a coarse reconstruction changes, paint it over."""

from __future__ import annotations

from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from aberra.capabilities import Denoises, HasFeatures
from aberra.compare.perceptual import perceptual_distance
from aberra.diffusion.samplers import Sampler, sample
from aberra.errors import ConfigError
from aberra.options import Few, Positive, Reach, Step, configured
from aberra.restore import Restored, Restores
from aberra.restore.healthy import AUTO, Auto, healthy_quantile, healthy_slabs
from aberra.restore.partial_diffusion import Chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.diffusion.schedule import Schedule
    from aberra.volume import Volume

QUANTILE = 0.95
"""Of healthy values: the residual's scale, and 1 − the share of healthy pixels that the mask
takes."""

PUBLISHED = 0.13
"""τ where there were no healthy cases to learn it from."""


class AutoDDPM(Restores):
    """x̂₂ = x painted over where m > τ; the evidence is m = perceptual distance × residual of a
    coarse x̂.

    Bercea, Neumayr, Rueckert, Schnabel 2023, "Mask, Stitch, and Re-Sample" (arXiv 2305.19643): the
    map is ``|x − x̂₂|·m``, an absolute comparison that is ``weighted``. x̂ is denoised from step
    ``start``; m is its :func:`aberra.compare.perceptual.perceptual_distance` to x times
    ``min(|x − x̂| / scale, 1)``. Where m > τ, dilated, x̂ is noised to step ``inpaint_start`` and
    denoised again, and after each step the rest is put back from x at the same noise; a step is
    repeated ``resamples`` times so that the parts grow together (RePaint). Where m ≤ τ, x̂₂ is x.

    Args:
        start: step up to which noise is added for x̂; published 200 of 1000.
        steps: calls of the network for x̂; published: every step.
        inpaint_start: the same for x̂₂; published 50.
        inpaint_steps: steps for x̂₂, each of which calls the network ``resamples`` times;
            published: every step.
        resamples: times that a step is taken; published 5.
        sampler: ``ddpm`` (published), ``ddim`` or ``dpm-solver``.
        threshold: τ. ``auto``: the 95 % quantile of m on healthy validation cases (5 % of their
            pixels are masked), published 0.13 where there were none.
        scale: of the residual. ``auto``: its 95 % quantile on healthy validation cases, that of the
            image itself (as in the released code) where there were none.
        dilate: edge of the square, or cube, that the mask is dilated with, in prepared pixels, odd;
            1 is off.

    Raises:
        ConfigError: unknown option or a number out of range; a start beyond the model's last step.

    Deviation: the model's own features stand for LPIPS, so the published τ has no meaning for them
    and is learnt. The residual's scale is one of healthy brains, not the image's own, which a large
    lesion raises. x̂ is not clipped to [0, 1].
    """

    name = "autoddpm"
    needs = (Denoises, HasFeatures)
    has_evidence = True

    @configured("score.restore")
    def __init__(
        self,
        *,
        start: Step = 200,
        steps: Step = 25,
        inpaint_start: Step = 50,
        inpaint_steps: Step = 5,
        resamples: Few = 5,
        sampler: Sampler = "ddpm",
        threshold: Positive | Auto = AUTO,
        scale: Positive | Auto = AUTO,
        dilate: Reach = 3,
    ) -> None:
        self.threshold = None if isinstance(threshold, str) else threshold
        self.scale = None if isinstance(scale, str) else scale
        if dilate % 2 == 0:
            raise ConfigError(f"score.restore.dilate={dilate}: expected an odd edge")
        self.chain = Chain(start, steps, sampler)
        self.inpainting = Chain(inpaint_start, inpaint_steps, sampler)
        self.resamples = resamples
        self.dilate = dilate

    def __call__(self, model: Any, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S)."""
        coarse = self.chain(model, x)
        suspect = self.suspicion(*self._evidence(model, x, coarse))
        yield Restored(self.inpaint(model, x, coarse, self.masked(suspect)), evidence=suspect)

    def _evidence(self, model: Any, x: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Perceptual distance and absolute residual of x̂, each (B, 1, S)."""
        return perceptual_distance(model, x, coarse), (x - coarse).abs().mean(dim=1, keepdim=True)

    def suspicion(self, distance: Tensor, residual: Tensor) -> Tensor:
        """Map m of a batch, (B, 1, S)."""
        scale: Tensor | float | None = self.scale
        if scale is None:
            flat = residual.flatten(1)
            scale = flat.kthvalue(max(1, round(QUANTILE * flat.shape[1])), dim=1).values.clamp(min=1e-6)
            scale = scale.reshape(-1, *[1] * (residual.ndim - 1))
        return distance * (residual / scale).clamp(max=1)

    def masked(self, suspect: Tensor) -> Tensor:
        """Where m > τ, dilated: (B, 1, S), bool."""
        above = (suspect > (PUBLISHED if self.threshold is None else self.threshold)).float()
        pool = F.max_pool2d if above.ndim == 4 else F.max_pool3d
        grown: Tensor = pool(above, self.dilate, stride=1, padding=self.dilate // 2)
        return grown.bool()

    def inpaint(self, model: Any, x: Tensor, coarse: Tensor, hole: Tensor) -> Tensor:
        """x̂₂: x outside the hole (B, 1, S), and what goes with it, starting from x̂, inside.

        (B, C, S).
        """
        chain, process = self.inpainting, model.process()
        now: Tensor = process.add_noise(coarse, model.noise(1, x), chain.start)
        for t, s in pairwise(process.times(chain.steps, chain.start)):
            for again in range(self.resamples):
                # numbers of their own for every step and repetition
                seed = 2 + again
                inside = sample(
                    chain.sampler, model.denoise, now, [t, s], process, seed=seed, noise=model.noise
                )
                outside = process.add_noise(x, model.noise(seed * 200_003 + t, x), s)
                now = torch.where(hole, inside, outside)
                if again < self.resamples - 1:
                    now = _raised(process, now, s, t, model.noise(seed * 300_007 + t, x))
        return now

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Learn the residual's scale and τ from prepared healthy volumes where they are ``auto``."""
        if self.scale is not None and self.threshold is not None:
            return {}
        slabs = healthy_slabs(volumes, run)
        if slabs is None:
            return {}
        x, mask = slabs
        distance, residual = run(
            lambda batch: torch.cat(self._evidence(model, batch, self.chain(model, batch)), dim=1), x, mask
        )[:, mask]
        chosen = copy(self)
        if chosen.scale is None:
            chosen.scale = healthy_quantile(residual, QUANTILE)
        if chosen.threshold is None:
            chosen.threshold = healthy_quantile(chosen.suspicion(distance, residual), QUANTILE)
        return {"scale": chosen.scale, "threshold": chosen.threshold}


def _raised(process: Schedule, now: Tensor, s: int, t: int, noise: Tensor) -> Tensor:
    """Carry x_s up to step t by fresh noise."""
    kept = process.at(t, now) / process.at(s, now)
    return kept.sqrt() * now + (1 - kept).sqrt() * noise
