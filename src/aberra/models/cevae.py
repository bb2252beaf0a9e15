"""Context-encoding variational autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.models.vae import VAE
from aberra.nets.masking import STUDY_EDGE, ContextNoise, Fill, Place
from aberra.options import Few, Share, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class CeVAE(VAE):
    """A VAE that also fills in boxes cut out of its input, with the same weights.

    Zimmerer, Kohl, Petersen, Isensee, Maier-Hein 2018 (arXiv 1812.05941); Baur et al. 2021 (arXiv
    2004.03271), row "Context VAE":

        L = 2·[(1 − α)·(β·KL(x) + rec(x, VAE(x))) + α·rec(x, Dec(μ(x̃)))]

    x̃ is x with context noise (:class:`aberra.nets.masking.ContextNoise`). The branch of x̃ decodes
    the posterior mean and has no KL term: images with holes must not become normal. The factor 2
    makes α = ½ the papers' unweighted sum.

    1,758,449 parameters at 128² with one channel, as the VAE.

    Args:
        factor: α, Zimmerer's ceVAE-Factor: 0 is a VAE, 1 a context encoder.
        boxes: most boxes an image.
        smallest: least edge of a box over that of the image; default the study's 20 of 128,
            Zimmerer 0.
        largest: greatest such share; default the study's, Zimmerer 0.5.
        place: ``foreground`` (its bounding box; the study) or ``anywhere`` (Zimmerer).
        fill: ``zero`` (the study) or ``random`` (Zimmerer).

    Raises:
        ConfigError: as the VAE, boxes that cannot be drawn, or a factor outside [0, 1].

    Deviation: the context branch is compared with the whole image, as both papers write; the
    study's public code compares with the masked one. No noise in validation. All else
    as :class:`aberra.models.vae.VAE`.
    """

    name = "cevae"

    @configured("model", extends=VAE)
    def __init__(
        self,
        *,
        factor: Share = 0.5,
        boxes: Few = 3,
        smallest: Share = STUDY_EDGE,
        largest: Share = STUDY_EDGE,
        place: Place = "foreground",
        fill: Fill = "zero",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.factor = factor
        self.noise = ContextNoise(boxes=boxes, smallest=smallest, largest=largest, place=place, fill=fill)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted sum of the VAE's loss and the context branch's reconstruction error."""
        vae = super().loss(batch)
        x, mask = batch.x, batch.mask
        seen = self.noise(x, mask, batch.generator) if self.training else x
        context = self.negative_log_likelihood(
            x, self.reconstruct(seen), mask if self.masked else None
        ).mean()

        def weighted(term: Tensor) -> Tensor:
            return 2 * ((1 - self.factor) * term + self.factor * context)

        return {
            "loss": weighted(vae["loss"]),
            "reconstruction": weighted(vae["reconstruction"]),
            "context": context,
            "kl": vae["kl"],
        }
