"""What the model says of a slice as a whole: a term of its objective, or f-AnoGAN's image score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aberra.capabilities import HasCritic, Reconstructs
from aberra.errors import ConfigError
from aberra.options import NotNegative, configured
from aberra.scores import Scored
from aberra.scores.terms import OfTerm, needs_of, term

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner

ImageFeature = Literal["image-feature"]
IMAGE_FEATURE: ImageFeature = "image-feature"


class Term:
    """A map that is constant in each slice (2-D), or blended from windows (3-D): the term's value
    there.

    For slice-level detection, and as a second question for the case score:
    ``[case] score = {name = "term", of = "kl"}``, which ``[case] reduce`` then takes the mean,
    maximum, percentile or top share of.

    Args:
        of: ``reconstruction``, ``kl`` or ``elbo`` (:mod:`aberra.scores.terms`), sums over pixels or
            latent dimensions; ``nll``, −log p of the image or its code, or ``bits-per-dim``, the
            same in bits a value of the image; or ``image-feature``, Schlegl et al. 2019: ‖x − x̂‖² /
            n + κ·‖f(x) − f(x̂)‖² / n_f with the critic's features f.
        kappa: κ, by default 1; only with ``image-feature``.

    Raises:
        ConfigError: unknown term, a negative κ, or κ with another term.
    """

    name = "term"

    @configured("score")
    def __init__(self, *, of: OfTerm | ImageFeature = "elbo", kappa: NotNegative | None = None) -> None:
        self.of = of
        if of != IMAGE_FEATURE and kappa is not None:
            raise ConfigError(
                f"score.kappa={kappa:g}: does nothing with of='{of}', only with image-feature; leave it out"
            )
        self.kappa = 1.0 if kappa is None else kappa
        self.needs = (Reconstructs, HasCritic) if of == IMAGE_FEATURE else needs_of(of)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""

        def spread(batch: Tensor) -> Tensor:
            value = self._value(model, batch).reshape(-1, *[1] * (batch.ndim - 1))
            return value.expand(-1, 1, *batch.shape[2:])

        return Scored(run(spread, x, mask)[0].clamp(min=0))

    def _value(self, model: Any, x: Tensor) -> Tensor:
        """(B, C, S) to (B,)."""
        if self.of != IMAGE_FEATURE:
            return term(model, x, self.of)
        restored = model.reconstruct(x)
        image = ((x - restored) ** 2).flatten(1).mean(dim=1)
        feature = ((model.features(x) - model.features(restored)) ** 2).flatten(1).mean(dim=1)
        return image + self.kappa * feature  # type: ignore[no-any-return]
