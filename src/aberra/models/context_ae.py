"""Context autoencoder: fills in boxes that are cut out of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from aberra.models.ae import AE
from aberra.nets.masking import STUDY_EDGE, ContextNoise
from aberra.options import Dims, Edge, Few, ShareAboveZero, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class ContextAE(AE):
    """An autoencoder that sees healthy images with holes and is asked for the whole image.

    Baur et al. 2021 (arXiv 2004.03271), row "Context AE"; the idea is of Pathak et al. 2016. L = ‖x − Dec(Enc(x̃))‖₁, x̃ being
    x with one to three boxes set to zero (:class:`aberra.nets.masking.ContextNoise`), in training only: validation and use see the
    whole image.

    1,627,249 parameters at 128² with one channel, as the dense autoencoder.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        bottleneck: ``dense`` (the study) or ``spatial``; see :class:`aberra.models.ae.AE`.
        latent: K of the dense bottleneck.
        width: filters of the first stage; the study's 32.
        dropout: as for the autoencoder.
        boxes: most boxes an image; the study's 3.
        box: edge of a box over the edge of the image, axis by axis; the study's 20 of 128 pixels.

    Raises:
        ConfigError: as the autoencoder, or boxes that cannot be drawn.
    """

    name = "context-ae"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        bottleneck: Literal["dense", "spatial"] = "dense",
        latent: Width = 128,
        width: Width = 32,
        dropout: ShareBelowOne = 0.2,
        boxes: Few = 3,
        box: ShareAboveZero = STUDY_EDGE,
    ) -> None:
        super().__init__(
            channels=channels,
            dims=dims,
            size=size,
            bottleneck=bottleneck,
            latent=latent,
            width=width,
            dropout=dropout,
        )
        self.noise = ContextNoise(boxes=boxes, smallest=box, largest=box, place="foreground", fill="zero")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error against the whole image, summed over pixels, mean over the batch."""
        x = batch.x
        seen = self.noise(x, batch.mask, batch.generator) if self.training else x
        error = (self.reconstruct(seen) - x).abs().sum() / len(x)
        return {"loss": error, "reconstruction": error}
