"""Constrained autoencoder: image and reconstruction must have the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aberra.models.ae import AE
from aberra.options import NotNegative, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class ConstrainedAE(AE):
    """An autoencoder whose codes say how far two images are apart, so that a lesion moves the code
    little.

    Chen & Konukoglu 2018 (arXiv 1806.04972); Baur et al. 2021 (arXiv 2004.03271), row "Constrained
    AE": L = ‖x − x̂‖² + ρ‖z − Enc(x̂)‖², summed over pixels and codes, mean over the batch.

    1,627,249 parameters at 128² with one channel, as the dense autoencoder.

    Args:
        rho: ρ, the weight of the constraint.
        reconstruction: ``l2``, squared error (Chen & Konukoglu, the study's public code), or
            ``l1``, the study's other models.

    Raises:
        ConfigError: as the autoencoder, or an unknown reconstruction term.

    All else as :class:`aberra.models.ae.AE`; the study's text has a latent of 128, its public
    code 1024.

    Deviation: the constraint compares codes before dropout, which would else be its largest part.
    """

    name = "constrained-ae"

    @configured("model", extends=AE)
    def __init__(
        self, *, rho: NotNegative = 1.0, reconstruction: Literal["l1", "l2"] = "l2", **options: Any
    ) -> None:
        super().__init__(**options)
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
