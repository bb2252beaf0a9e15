"""How unlikely a scan is among its own healthy versions (multi-sample Mahalanobis distance)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch

from aberra.options import Positive, configured
from aberra.scores import Scored
from aberra.scores.residual import tuned
from aberra.scores.spread import several

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

Covariance = Literal["full", "diagonal"]


class Mahalanobis:
    """``√(d ⊙ Σ⁻¹d)``, d = x − mean of the draws, Σ = their covariance + ε²·1; mean over channels.

    Behrendt, Bhattacharya, Mieling, Maack, Krüger, Opfer, Schlaefer 2024 (MICCAI, arXiv
    2407.12474): many reconstructions of one slice are its healthy distribution, and a pixel is
    anomalous as far as it contributes to the distance dᵀΣ⁻¹d. The paper's Σ is the full covariance
    of all foreground pixels of the slice (its ablation: the diagonal), ε² = 10⁻² in the released
    code.

    Args:
        restore: how the draws are made, as in :class:`aberra.scores.residual.Residual`; it must
            give two or more, and memory grows with them. By default ten by partial diffusion from
            step 500 (published start) in ten DDIM steps.
        covariance: ``full``, or ``diagonal``, which is ``|x − mean| / √(variance + ε²)``.
        epsilon: ε, in prepared intensities: the deviation below which a pixel's variance is not
            believed.

    Raises:
        ConfigError: unknown option, a restoration that gives one healthy version, or ε not above 0.

    Deviation: the paper's model is conditioned on an encoding of the scan (cDDPM) and reconstructs
    in one step; here it is any restoration that draws. A pixel whose contribution to dᵀΣ⁻¹d is
    negative gets 0 (the released code: not a number). Channels have a covariance each. The standard
    deviation of the draws (mean over channels) is the uncertainty.
    """

    name = "mahalanobis"
    RESTORE: ClassVar[dict[str, Any]] = {
        "name": "partial-diffusion", "start": 500, "steps": 10, "sampler": "ddim", "draws": 10, "average": False
    }  # fmt: skip
    COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)

    @configured("score")
    def __init__(
        self,
        *,
        restore: dict[str, Any] | None = None,
        covariance: Covariance = "full",
        epsilon: Positive = 0.1,
    ) -> None:
        self.options = restore or self.RESTORE
        self.restore = several(self.options)
        self.covariance = covariance
        self.epsilon = epsilon
        self.needs = self.restore.needs

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        found = run(
            lambda batch, inside: self._distances(model, batch, inside),
            x,
            mask,
            also=(mask[None].to(x),),
            grad=self.restore.grad,
        )
        channels = len(x)
        return Scored(found[channels:-1].mean(dim=0), found[:channels], uncertainty=found[-1])

    def _distances(self, model: Any, x: Tensor, inside: Tensor) -> Tensor:
        """Mean, distance and spread of the draws, (B, 2C + 1, S), of a batch (B, C, S) and its mask
        (B, 1, S): Σ is one of foreground pixels.
        """
        every = torch.stack([version.image.float() for version in self.restore(model, x)], dim=2)
        mean = every.mean(dim=2)
        with torch.autocast(x.device.type, enabled=False):
            spread = ((every - mean.unsqueeze(2)) * inside.unsqueeze(2)).flatten(3)
            distance = self.distance(((x - mean) * inside).flatten(2), spread).reshape(x.shape)
        deviation = every.std(dim=2, correction=0).mean(dim=1, keepdim=True)
        return torch.cat([mean, distance, deviation], dim=1)

    def distance(self, difference: Tensor, spread: Tensor) -> Tensor:
        """Contribution of each pixel: d (B, C, P) and draws minus their mean (B, C, N, P) to (B, C,
        P).
        """
        ridge, count = self.epsilon**2, spread.shape[2] - 1
        if self.covariance == "diagonal":
            return difference.abs() / (spread.square().sum(dim=2) / count + ridge).sqrt()
        # Σ has rank N − 1 beside the ridge, so Woodbury's identity inverts N × N instead of P ×
        # P numbers
        inner = spread @ spread.mT + ridge * count * torch.eye(spread.shape[2]).to(spread)
        weights: Tensor = torch.linalg.solve(inner, spread @ difference.unsqueeze(-1))
        whitened = (difference - (spread.mT @ weights).squeeze(-1)) / ridge
        return (difference * whitened).clamp(min=0).sqrt()

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Settings that the restoration finds on healthy cases
        (:class:`aberra.capabilities.Tunes`).
        """
        return tuned(self.restore, self.options, model, volumes, run)
