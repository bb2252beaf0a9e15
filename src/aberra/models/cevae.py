"""Context-encoding variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aberra.models.vae import VAE, Anneal, Likelihood, Network
from aberra.nets.masking import STUDY_EDGE, ContextNoise, Fill, Place
from aberra.options import (
    Count,
    Dims,
    Edge,
    Few,
    NotNegative,
    Positive,
    Share,
    ShareBelowOne,
    Width,
    configured,
)

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class CeVAE(VAE):
    """A VAE that also fills in boxes cut out of its input, with the same weights.

    Zimmerer, Kohl, Petersen, Isensee, Maier-Hein 2018 (arXiv 1812.05941); Baur et al. 2021 (arXiv 2004.03271), row "Context VAE":

        L = 2·[(1 − α)·(β·KL(x) + rec(x, VAE(x))) + α·rec(x, Dec(μ(x̃)))]

    x̃ is x with context noise (:class:`aberra.nets.masking.ContextNoise`). The branch of x̃ decodes the posterior mean and has no KL
    term: images with holes must not become normal. The factor 2 makes α = ½ the papers' unweighted sum.

    1,758,449 parameters at 128² with one channel, as the VAE.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: ``unified`` or ``original`` (Zimmerer's); this and all up to ``scale`` as :class:`aberra.models.vae.VAE`.
        latent: K.
        width: filters of the first stage.
        dropout: on the heads and behind the code; the unified network's 0.2, the original has none.
        kl_weight: β.
        anneal: ``none``, ``monotonic`` or ``cyclical``.
        anneal_steps: of the annealing.
        masked: reconstruction terms inside the foreground only.
        likelihood: ``laplace`` (both papers) or ``gaussian``.
        scale: c.
        factor: α, Zimmerer's ceVAE-Factor: 0 is a VAE, 1 a context encoder.
        boxes: most boxes an image.
        smallest: least edge of a box over that of the image; default the study's 20 of 128, Zimmerer 0.
        largest: greatest such share; default the study's, Zimmerer 0.5.
        place: ``foreground`` (its bounding box; the study) or ``anywhere`` (Zimmerer).
        fill: ``zero`` (the study) or ``random`` (Zimmerer).

    Raises:
        ConfigError: as the VAE, boxes that cannot be drawn, or a factor outside [0, 1].

    Deviation: the context branch is compared with the whole image, as both papers write; the study's public code compares with the
    masked one. No noise in validation.
    """

    name = "cevae"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Network = "unified",
        latent: Width = 128,
        width: Width | None = None,
        dropout: ShareBelowOne | None = None,
        kl_weight: NotNegative = 1.0,
        anneal: Anneal = "none",
        anneal_steps: Count = 2000,
        masked: bool = False,
        likelihood: Likelihood = "laplace",
        scale: Positive = 1.0,
        factor: Share = 0.5,
        boxes: Few = 3,
        smallest: Share = STUDY_EDGE,
        largest: Share = STUDY_EDGE,
        place: Place = "foreground",
        fill: Fill = "zero",
    ) -> None:
        super().__init__(
            channels=channels,
            dims=dims,
            size=size,
            network=network,
            latent=latent,
            width=width,
            dropout=dropout,
            kl_weight=kl_weight,
            anneal=anneal,
            anneal_steps=anneal_steps,
            masked=masked,
            likelihood=likelihood,
            scale=scale,
        )
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
