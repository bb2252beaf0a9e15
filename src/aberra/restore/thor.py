"""THOR: while it denoises, put the scan back where nothing was anomalous so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import Denoises, HasFeatures
from aberra.compare.perceptual import perceptual_distance
from aberra.diffusion.samplers import Sampler, sample
from aberra.errors import ConfigError
from aberra.options import Positive, Reach, Sigma, Step, configured
from aberra.restore import Restored, Restores
from aberra.restore.healthy import AUTO, Auto, healthy_quantile, healthy_slabs
from aberra.restore.partial_diffusion import Chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

QUANTILE = 0.999
"""Of healthy values of m: there M is 1."""

EDGE = 128
"""Pixels of the published images, which ``blur`` and ``reach`` refer to."""


class THOR(Restores):
    """x̂ at the end of a way down that m_t = perceptual distance × ``|x − x̂₀(t)|`` guides; the
    evidence is the harmonic mean of m_t.

    Bercea, Wiestler, Rueckert, Schnabel 2024, "Diffusion models with implicit guidance for medical
    anomaly detection" (arXiv 2403.08464): at the steps ``harmonise``, M = m_t closed and dilated,
    averaged with itself and clipped to [0, 1]; then x₀ ← M·x̂₀ + (1 − M)·x is noised again with the
    noise of the start, and the way goes on. Its map is the evidence,
    ``compare = {mode = "evidence"}``.

    Args:
        start: step up to which noise is added; published 350 of 1000.
        steps: calls of the network, evenly spread from ``start`` down; published: every step.
        harmonise: steps t, the nearest of the grid each; published 300, 150 and 50.
        sampler: between them: ``ddpm`` (published), ``ddim`` or ``dpm-solver``.
        scale: value of m_t that becomes M = 1. ``auto``: the 99.9 % quantile over healthy
            validation cases of the largest m_t, and the image's own maximum (as in the released
            code) where there were none.
        blur: σ of a Gaussian over the perceptual distance, in pixels of an image with a longest
            edge of 128; published 2.
        reach: edge of the square, or cube, that closes and dilates, in the same pixels, odd;
            published 13.

    Raises:
        ConfigError: unknown option or a number out of range; a start beyond the model's last step.

    Deviation: the model's own features stand for LPIPS. m_t is scaled by one number that healthy
    cases give instead of each image's maximum, which a healthy image would reach, too; the map's
    m_t are not scaled or clipped. The network is asked once at a step of ``harmonise``, and the new
    x₀ is noised to the next step at once. x₀ is not clipped to [0, 1].
    """

    name = "thor"
    needs = (Denoises, HasFeatures)
    has_evidence = True

    @configured("score.restore")
    def __init__(
        self,
        *,
        start: Step = 350,
        steps: Step = 50,
        harmonise: Sequence[Step] = (300, 150, 50),
        sampler: Sampler = "ddpm",
        scale: Positive | Auto = AUTO,
        blur: Sigma = 2.0,
        reach: Reach = 13,
    ) -> None:
        self.chain = Chain(start, steps, sampler)
        self.harmonise = tuple(harmonise)
        self.scale = None if isinstance(scale, str) else scale
        if not self.harmonise or not all(t <= start for t in self.harmonise):
            raise ConfigError(
                f"score.restore.harmonise={list(self.harmonise)}; expected steps from 1 to the start, {start}"
            )
        if reach % 2 == 0:
            raise ConfigError(f"score.restore.reach={reach}: expected an odd edge")
        self.blur = blur
        self.reach = reach

    def __call__(self, model: Any, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S)."""
        restored, maps = self.go(model, x)
        yield Restored(restored, evidence=harmonic_mean(maps))

    def go(self, model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """x̂ of a batch (B, C, S), and m_t of every harmonised step, (B, N, S)."""
        chain, process = self.chain, model.process()
        noise = model.noise(0, x)
        times = process.times(chain.steps, chain.start)
        stops = {min(times[:-1], key=lambda t: abs(t - wish)) for wish in self.harmonise}
        now, maps = process.add_noise(x, noise, chain.start), []
        pieces = sorted({times[0], *stops, 0}, reverse=True)
        for begin, end in pairwise(pieces):
            piece = [t for t in times if begin >= t >= end]
            if begin in stops:
                found = model.denoise(now, begin).image
                maps.append(self.difference(model, x, found))
                share = self.region(maps[-1])
                now = process.add_noise(share * found + (1 - share) * x, noise, piece[1])
                piece = piece[1:]
            now = sample(chain.sampler, model.denoise, now, piece, process, noise=model.noise)
        return now, torch.cat(maps, dim=1)

    def difference(self, model: Any, x: Tensor, found: Tensor) -> Tensor:
        """m_t of a batch: (B, C, S) to (B, 1, S)."""
        from scipy.ndimage import gaussian_filter

        distance = perceptual_distance(model, x, found)
        width = self.blur * max(x.shape[2:]) / EDGE
        soft = gaussian_filter(distance.cpu().numpy(), (0, 0, *[width] * (x.ndim - 2)))
        return torch.from_numpy(soft).to(distance) * (x - found).abs().mean(dim=1, keepdim=True)

    def region(self, difference: Tensor) -> Tensor:
        """M of m_t, (B, 1, S), in [0, 1]."""
        from scipy.ndimage import grey_closing, grey_dilation

        axes = tuple(range(1, difference.ndim))
        scale = difference.amax(dim=axes, keepdim=True) if self.scale is None else self.scale
        scaled = (difference / (scale + 1e-12)).clamp(max=1).cpu().numpy()
        edge = 2 * round(self.reach // 2 * max(difference.shape[2:]) / EDGE) + 1
        size = (1, 1, *[edge] * (difference.ndim - 2))
        grown = grey_dilation(grey_closing(scaled, size, mode="nearest"), size, mode="nearest")
        return torch.from_numpy((grown + scaled) / 2).to(difference)

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Learn the scale from prepared healthy volumes where it is ``auto``."""
        slabs = None if self.scale is not None else healthy_slabs(volumes, run)
        if slabs is None:
            return {}
        x, mask = slabs
        found = run(lambda batch: self.go(model, batch)[1].amax(dim=1, keepdim=True), x, mask)
        return {"scale": healthy_quantile(found[0][mask], QUANTILE)}


def harmonic_mean(maps: Tensor) -> Tensor:
    """Harmonic mean over dimension 1, which is kept: (B, N, S) to (B, 1, S)."""
    return 1 / (1 / maps.clamp(min=1e-12)).mean(dim=1, keepdim=True)
