"""Context autoencoder: fills in boxes that are cut out of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.models.ae import AE
from aberra.nets.masking import STUDY_EDGE, ContextNoise
from aberra.options import Few, ShareAboveZero, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class ContextAE(AE):
    """An autoencoder that sees healthy images with holes and is asked for the whole image.

    Baur et al. 2021 (arXiv 2004.03271), row "Context AE"; the idea is of Pathak et al. 2016. L = ‖x
    − Dec(Enc(x̃))‖₁, x̃ being x with one to three boxes set to zero
    (:class:`aberra.nets.masking.ContextNoise`), in training only: validation and use see the whole
    image.

    1,627,249 parameters at 128² with one channel, as the dense autoencoder.

    Args:
        boxes: most boxes an image; the study's 3.
        box: edge of a box over the edge of the image, axis by axis; the study's 20 of 128 pixels.

    Raises:
        ConfigError: as the autoencoder, or boxes that cannot be drawn.

    All else as :class:`aberra.models.ae.AE`.
    """

    name = "context-ae"

    @configured("model", extends=AE)
    def __init__(self, *, boxes: Few = 3, box: ShareAboveZero = STUDY_EDGE, **options: Any) -> None:
        super().__init__(**options)
        self.noise = ContextNoise(boxes=boxes, smallest=box, largest=box, place="foreground", fill="zero")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error against the whole image, summed over pixels, mean over the batch."""
        x = batch.x
        seen = self.noise(x, batch.mask, batch.generator) if self.training else x
        error = (self.reconstruct(seen) - x).abs().sum() / len(x)
        return {"loss": error, "reconstruction": error}
