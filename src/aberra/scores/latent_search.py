"""AnoGAN: search the code whose image is nearest to the scan (B30, B54 of a generator)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.options import Count, Positive, Share, Sigma, configured
from aberra.scores import Scored
from aberra.scores.residual import Sign, signed
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class LatentSearch:
    """z* = argmin (1 − λ)·Σ``|x − G(z)|`` + λ·Σ``|f(x) − f(G(z))|``; the map is ``|x − G(z*)|``, mean over channels.

    Schlegl, Seeböck, Waldstein, Schmidt-Erfurth, Langs 2017 (AnoGAN, arXiv 1703.05921), eqs. 1–3: weights fixed, Adam on z, feature
    matching by the discriminator's features f, λ = 0.1.

    Args:
        steps: of Adam; the paper has 500.
        rate: its learning rate.
        feature_weight: λ; only where the model has a critic.
        mode: sign of the map, as in :class:`aberra.scores.residual.Residual`.
        smooth: σ of a Gaussian over the map; 0 is off.

    Raises:
        ConfigError: unknown mode, no step, a rate that is not positive, or λ outside [0, 1].

    Deviation: starts at the mean code 0 instead of a random one, so that a map can be repeated and 200 steps do (the paper: 500).
    """

    name = "latent-search"

    @configured("score")
    def __init__(
        self,
        *,
        steps: Count = 200,
        rate: Positive = 0.05,
        feature_weight: Share = 0.1,
        mode: Sign = "absolute",
        smooth: Sigma = 0.0,
    ) -> None:
        self.steps = steps
        self.rate = rate
        self.feature_weight = feature_weight
        self.mode = mode
        self.unit = "intensity"
        self.smooth = smooth
        self.needs = ("Generates", "HasCritic") if feature_weight else ("Generates",)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        nearest = run(lambda batch: self.nearest(model, batch), x, mask, grad=True)
        values = signed(x - nearest, self.mode).mean(dim=0)
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), nearest * mask)

    def nearest(self, model: Any, x: Tensor) -> Tensor:
        """G(z*) of a batch: (B, C, S) to (B, C, S). Needs autograd."""
        z = torch.zeros((len(x), *model.latent_shape()), device=x.device, requires_grad=True)
        optimizer = torch.optim.Adam([z], lr=self.rate)
        with torch.no_grad():
            wanted = model.features(x) if self.feature_weight else None
        for _ in range(self.steps):
            image = model.generate(z)
            loss = (1 - self.feature_weight) * (x - image).abs().sum()
            if wanted is not None:
                loss = loss + self.feature_weight * (wanted - model.features(image)).abs().sum()
            # with respect to the code alone: the model's parameters get no gradient
            (z.grad,) = torch.autograd.grad(loss, z)
            optimizer.step()
        with torch.no_grad():
            found: Tensor = model.generate(z)
        return found
