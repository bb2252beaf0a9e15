"""How fast a term of the model's objective changes with each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.diffusion.noise import shared
from aberra.options import Count, NotNegative, configured
from aberra.scores import Scored
from aberra.scores.terms import OfTerm, needs_of, term

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class Gradient:
    """``|∂term/∂x|``, mean over channels: the direction to normality points away from what is
    anomalous.

    Zimmerer et al. 2019 (IPMI and MIDL), Baur et al. 2021; of a density, Lüth et al. 2023 (CRADL,
    arXiv 2301.02126). One backward pass, no optimisation.
    SmoothGrad (Smilkov et al. 2017) averages the signed gradients at x + σε_n over n runs and takes
    the absolute value afterwards.

    Args:
        of: ``reconstruction`` (−log p(x|z) at the posterior mean; Σ``|x − x̂|`` where the model has
            no likelihood), ``kl``, ``elbo`` (their sum, unweighted), ``nll`` (−log p of the image
            or its code) or ``bits-per-dim`` (the same by another unit).
        smoothgrad: runs; 1 is the plain gradient without noise.
        noise: σ of the noise in normalised intensities; used with two or more runs.

    Raises:
        ConfigError: unknown term, no run, or negative noise.

    Deviation: the noise of each run is drawn anew; the publication's helper adds it up over the
    runs. It is the same for every image, so that a score does not depend on the batch. Zimmerer
    smooths with a kernel of 5 pixels without stating σ.
    """

    name = "gradient"

    @configured("score")
    def __init__(self, *, of: OfTerm = "elbo", smoothgrad: Count = 1, noise: NotNegative = 0.1) -> None:
        self.of = of
        self.smoothgrad = smoothgrad
        self.noise = noise
        self.needs = needs_of(of)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W).

        There is no reconstruction: it would cost a pass more.
        """
        found = run(lambda batch: self.gradient(model, batch).abs(), x, mask, grad=True)
        return Scored(found.mean(dim=0))

    def gradient(self, model: Any, x: Tensor) -> Tensor:
        """Signed gradient, averaged over the runs: (B, C, S) to (B, C, S). Needs autograd."""
        if self.smoothgrad == 1:
            return self._once(model, x)
        total = torch.zeros_like(x)
        for draw in range(self.smoothgrad):
            total += self._once(model, x + self.noise * shared("gaussian", draw, x))
        return total / self.smoothgrad

    def _once(self, model: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        # with respect to x alone: the model's parameters get no gradient
        (found,) = torch.autograd.grad(term(model, x, self.of).sum(), x)
        return found
