"""How unlikely a scan is among its own reconstructions (multi-sample Mahalanobis distance)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

import torch

from aberra.diffusion.samplers import Sampler
from aberra.options import Positive, Sigma, Step, Within, configured
from aberra.scores import Scored
from aberra.scores.partial_diffusion import Chain, Draws
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.capabilities import Denoises
    from aberra.detector.windows import Runner

Covariance = Literal["full", "diagonal"]


class Mahalanobis:
    """``√(d ⊙ Σ⁻¹d)``, d = x − mean of the draws, Σ = their covariance + ε²·1; mean over channels.

    Behrendt, Bhattacharya, Mieling, Maack, Krüger, Opfer, Schlaefer 2024 (MICCAI, arXiv 2407.12474): many reconstructions of one slice
    are its healthy distribution, and a pixel is anomalous as far as it contributes to the distance dᵀΣ⁻¹d. The paper's Σ is the full
    covariance of all foreground pixels of the slice (its ablation: the diagonal), ε² = 10⁻² in the released code.

    Args:
        start: step up to which noise is added; published 500.
        steps: calls of the network a draw, evenly spread from ``start`` down.
        sampler: ``ddpm``, ``ddim`` or ``dpm-solver``.
        draws: N, reconstructions with different noise; memory grows with it.
        covariance: ``full``, or ``diagonal``, which is ``|x − mean| / √(variance + ε²)``.
        epsilon: ε, in prepared intensities: the deviation below which a pixel's variance is not believed.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option, fewer than 2 draws, ε not above 0, or negative smoothing.

    Deviation: the paper's model is conditioned on an encoding of the scan (cDDPM) and reconstructs in one step; here it is partial
    diffusion by any denoiser. A pixel whose contribution to dᵀΣ⁻¹d is negative gets 0 (the released code: not a number). Channels have
    a covariance each.
    """

    name = "mahalanobis"
    needs = ("Denoises",)

    COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)

    @configured("score")
    def __init__(
        self,
        *,
        start: Step = 500,
        steps: Step = 10,
        sampler: Sampler = "ddim",
        draws: Annotated[int, Within(2, 1000)] = 10,
        covariance: Covariance = "full",
        epsilon: Positive = 0.1,
        smooth: Sigma = 0.0,
    ) -> None:
        self.chain = Chain(start, steps, sampler)
        self.draws = draws
        self.covariance = covariance
        self.epsilon = epsilon
        self.smooth = smooth

    def __call__(self, model: Denoises, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        # the mask travels with the batch: the covariance is one of foreground pixels
        found = run(lambda batch: self._distances(model, batch), torch.cat([x, mask[None].to(x)]), mask)
        restored, values = found[: len(x)], found[len(x) :].mean(dim=0)
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), restored * mask)

    def _distances(self, model: Denoises, batch: Tensor) -> Tensor:
        """Image and mask (B, C + 1, S) to mean of the draws and distance (B, 2C, S)."""
        x, inside = batch[:, :-1], batch[:, -1:]
        draws = Draws(model, self.chain, self.draws)
        every = torch.stack(list(draws.sample_reconstructions(x, self.draws)), dim=2).float()
        mean = every.mean(dim=2)
        with torch.autocast(x.device.type, enabled=False):
            spread = ((every - mean.unsqueeze(2)) * inside.unsqueeze(2)).flatten(3)
            distance = self.distance(((x - mean) * inside).flatten(2), spread).reshape(x.shape)
        return torch.cat([mean, distance], dim=1)

    def distance(self, difference: Tensor, spread: Tensor) -> Tensor:
        """Contribution of each pixel: d (B, C, P) and draws minus their mean (B, C, N, P) to (B, C, P)."""
        ridge, count = self.epsilon**2, spread.shape[2] - 1
        if self.covariance == "diagonal":
            return difference.abs() / (spread.square().sum(dim=2) / count + ridge).sqrt()
        # Σ has rank N − 1 beside the ridge, so Woodbury's identity inverts N × N instead of P × P numbers
        inner = spread @ spread.mT + ridge * count * torch.eye(spread.shape[2]).to(spread)
        weights: Tensor = torch.linalg.solve(inner, spread @ difference.unsqueeze(-1))
        whitened = (difference - (spread.mT @ weights).squeeze(-1)) / ridge
        return (difference * whitened).clamp(min=0).sqrt()
