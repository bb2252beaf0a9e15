"""AnoGAN: search the code whose image is nearest to the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import Generates, HasCritic
from aberra.options import Count, Positive, Share, configured
from aberra.restore import Restored, Restores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class LatentSearch(Restores):
    """x̂ = G(z*), z* = argmin (1 − λ)·Σ``|x − G(z)|`` + λ·Σ``|f(x) − f(G(z))|``.

    Schlegl, Seeböck, Waldstein, Schmidt-Erfurth, Langs 2017 (AnoGAN, arXiv 1703.05921), eqs. 1–3:
    weights fixed, Adam on z, feature matching by the discriminator's features f, λ = 0.1.

    Args:
        steps: of Adam; the paper has 500.
        rate: its learning rate.
        feature_weight: λ; only where the model has a critic.

    Raises:
        ConfigError: no step, a rate that is not positive, or λ outside [0, 1].

    Deviation: starts at the mean code 0 instead of a random one, so that a map can be repeated and
    200 steps do (the paper: 500).
    """

    name = "latent-search"
    grad = True

    @configured("score.restore")
    def __init__(self, *, steps: Count = 200, rate: Positive = 0.05, feature_weight: Share = 0.1) -> None:
        self.steps = steps
        self.rate = rate
        self.feature_weight = feature_weight
        self.needs = (Generates, HasCritic) if feature_weight else (Generates,)

    def __call__(self, model: Any, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S). Needs autograd."""
        yield Restored(self.nearest(model, x))

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
