"""Constrained autoencoder: image and reconstruction must have the same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from aberra.models.ae import AE
from aberra.options import Dims, Edge, NotNegative, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class ConstrainedAE(AE):
    """An autoencoder whose codes say how far two images are apart, so that a lesion moves the code little.

    Chen & Konukoglu 2018 (arXiv 1806.04972); Baur et al. 2021 (arXiv 2004.03271), row "Constrained AE":
    L = ‖x − x̂‖² + ρ‖z − Enc(x̂)‖², summed over pixels and codes, mean over the batch.

    1,627,249 parameters at 128² with one channel, as the dense autoencoder.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        bottleneck: ``dense`` (the study) or ``spatial``; see :class:`aberra.models.ae.AE`.
        latent: K of the dense bottleneck; the study's text has 128, its public code 1024.
        width: filters of the first stage; the study's 32.
        dropout: as for the autoencoder.
        rho: ρ, the weight of the constraint.
        reconstruction: ``l2``, squared error (Chen & Konukoglu, the study's public code), or ``l1``, the study's other models.

    Raises:
        ConfigError: as the autoencoder, or an unknown reconstruction term.

    Deviation: the constraint compares codes before dropout, which would else be its largest part.
    """

    name = "constrained-ae"

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
        rho: NotNegative = 1.0,
        reconstruction: Literal["l1", "l2"] = "l2",
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
        self.rho = rho
        self.power = 1 if reconstruction == "l1" else 2

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Error of the image and of its code."""
        x = batch.x
        before_dropout, dropout = self.encoder[:-1], self.encoder[-1]
        code = before_dropout(x)
        restored = self.decoder(dropout(code))
        reconstruction = ((x - restored).abs() ** self.power).sum() / len(x)
        constraint = ((code - before_dropout(restored)) ** 2).sum() / len(x)
        return {
            "loss": reconstruction + self.rho * constraint,
            "reconstruction": reconstruction,
            "constraint": constraint,
        }
