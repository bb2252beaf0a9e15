"""Residual plus lesion probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aberra.options import Count, NotNegative, configured
from aberra.scores import Scored
from aberra.scores.residual import Residual
from aberra.scores.segmentation import Segmentation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume


class WeightedSum:
    """``r(x, x̂) + w·p(x)``: what cannot be restored, and what looks like a lesion.

    Canon Medical's entry of the MOOD challenge 2020 (Zimmerer et al. 2022, IEEE TMI 41): residual
    of a denoising autoencoder, and class probability of a network that learnt from synthetic
    spheres. The weights are not published.

    Args:
        weight: w, intensities that a probability of 1 is worth; 0 leaves the residual alone.
        restore: as in :class:`aberra.scores.residual.Residual`.
        compare: as there.
        draws: as in :class:`aberra.scores.segmentation.Segmentation`.

    Raises:
        ConfigError: an option that the residual or the segmentation refuses.
    """

    name = "weighted-sum"
    RESTORE: ClassVar[dict[str, Any]] = Residual.RESTORE

    @configured("score")
    def __init__(
        self,
        *,
        weight: NotNegative = 0.5,
        restore: dict[str, Any] | None = None,
        compare: dict[str, Any] | None = None,
        draws: Count = 2,
    ) -> None:
        self.weight = weight
        self.residual = Residual(restore=restore, compare=compare)
        self.segmentation = Segmentation(draws=draws, uncertainty="entropy")
        self.needs = tuple(dict.fromkeys(self.residual.needs + self.segmentation.needs))

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        residual = self.residual(model, x, mask, run)
        lesion = self.segmentation(model, x, mask, run)
        return Scored(residual.map + self.weight * lesion.map, residual.reconstruction)

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Settings that the restoration finds on healthy cases
        (:class:`aberra.capabilities.Tunes`).
        """
        return self.residual.tune(model, volumes, run)
