"""Residual times gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aberra.compare.smoothing import smoothed
from aberra.options import Count, NotNegative, Sigma, configured
from aberra.scores import Scored
from aberra.scores.gradient import Gradient
from aberra.scores.residual import Residual
from aberra.scores.terms import OfTerm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume


class Combi:
    """``h = r(x, x̂)ᵃ ⊙ |∂term/∂x|ᵇ``: what cannot be restored *and* is where the model wants to
    change the image.

    Zimmerer et al. 2019, eq. 3.16 of the thesis: ``r = |x − x̂|``, a = b = 1 and the KL term; the
    product because the two differ by orders of magnitude. Other terms and exponents are the general
    h.

    Args:
        of: term of the gradient, as in :class:`aberra.scores.gradient.Gradient`.
        residual_power: a; 0 leaves the gradient alone.
        gradient_power: b; 0 leaves the residual alone.
        restore: as in :class:`aberra.scores.residual.Residual`.
        compare: as there.
        smoothgrad: as in :class:`aberra.scores.gradient.Gradient`.
        noise: as there.
        smooth: σ of a Gaussian over the gradient, before the product, in prepared pixels within the
            slice (2-D) or voxels (3-D).

    Raises:
        ConfigError: an option that the residual or the gradient refuses, or a negative exponent.

    Deviation: the public code scales the gradient of each image to [0, 1] first, which gives a
    healthy scan the same maximum as a sick one, and squares the residual; ours does neither.
    """

    name = "combi"
    RESTORE: ClassVar[dict[str, Any]] = Residual.RESTORE

    @configured("score")
    def __init__(
        self,
        *,
        of: OfTerm = "kl",
        residual_power: NotNegative = 1.0,
        gradient_power: NotNegative = 1.0,
        restore: dict[str, Any] | None = None,
        compare: dict[str, Any] | None = None,
        smoothgrad: Count = 1,
        noise: NotNegative = 0.1,
        smooth: Sigma = 0.0,
    ) -> None:
        self.residual_power = residual_power
        self.gradient_power = gradient_power
        self.residual = Residual(restore=restore, compare=compare)
        self.gradient = Gradient(of=of, smoothgrad=smoothgrad, noise=noise)
        self.smooth = smooth
        self.needs = tuple(dict.fromkeys(self.residual.needs + self.gradient.needs))

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        residual = self.residual(model, x, mask, run)
        slope = self.gradient(model, x, mask, run).map
        slope = smoothed(slope, mask, sigma=self.smooth, dims=run.dims)
        found = residual.map**self.residual_power * slope**self.gradient_power
        return Scored(found, residual.reconstruction, uncertainty=residual.uncertainty)

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Settings that the restoration finds on healthy cases
        (:class:`aberra.capabilities.Tunes`).
        """
        return self.residual.tune(model, volumes, run)
