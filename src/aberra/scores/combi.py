"""Residual times gradient (Z30, Z31, B36)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.options import Count, NotNegative, Sigma, configured
from aberra.scores import Scored
from aberra.scores.gradient import Gradient
from aberra.scores.residual import Mode, Residual
from aberra.scores.terms import OfTerm

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class Combi:
    """``h = |x − x̂|ᵃ ⊙ |∂term/∂x|ᵇ``: what cannot be restored *and* is where the model wants to change the image.

    Zimmerer et al. 2019, eq. 3.16 of the thesis: a = b = 1 and the KL term (Z30); the product because the two differ by orders
    of magnitude. Other terms and exponents are the general h (Z31).

    Args:
        of: term of the gradient: ``kl``, ``elbo`` or ``reconstruction``.
        residual_power: a; 0 leaves the gradient alone.
        gradient_power: b; 0 leaves the residual alone.
        mode: of the residual, as in :class:`aberra.scores.residual.Residual`.
        centre: as there.
        smoothgrad: as in :class:`aberra.scores.gradient.Gradient`.
        noise: as there.
        smooth: σ of a Gaussian over the gradient, before the product.

    Raises:
        ConfigError: an option that the residual or the gradient refuses, or a negative exponent.

    Deviation: the public code scales the gradient of each image to [0, 1] first, which gives a healthy scan the same maximum as
    a sick one, and squares the residual; ours does neither.
    """

    name = "combi"

    @configured("score")
    def __init__(
        self,
        *,
        of: OfTerm = "kl",
        residual_power: NotNegative = 1.0,
        gradient_power: NotNegative = 1.0,
        mode: Mode = "absolute",
        centre: bool = False,
        smoothgrad: Count = 1,
        noise: NotNegative = 0.1,
        smooth: Sigma = 0.0,
    ) -> None:
        self.residual_power = residual_power
        self.gradient_power = gradient_power
        self.residual = Residual(mode=mode, centre=centre)
        self.gradient = Gradient(of=of, smoothgrad=smoothgrad, noise=noise, smooth=smooth)
        self.needs = tuple(dict.fromkeys(self.residual.needs + self.gradient.needs))

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""

        def both(batch: Tensor) -> Tensor:
            with torch.no_grad():
                restored = model.reconstruct(batch)
            return torch.cat([restored, self.gradient.gradient(model, batch).abs()], dim=1)

        found = run(both, x, mask, grad=True)
        restored, gradient = found[: len(x)], found[len(x) :]
        residual = self.residual.compare(x, restored, mask, run.dims)
        slope = self.gradient.finish(gradient, mask, run.dims)
        product = residual**self.residual_power * slope**self.gradient_power
        return Scored(product * mask, restored * mask)
