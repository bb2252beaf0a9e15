"""Scale-space variational autoencoder: one light variational autoencoder a band of the Laplacian
pyramid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import nn

from aberra.models.scale_space_ae import ScaleSpaceAE
from aberra.models.vae import kl_to_standard_normal, posterior_sample, times
from aberra.nets.pyramid import bands, collapse, gaussian_pyramid
from aberra.nets.unified import conv
from aberra.options import NotNegative, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class ScaleSpaceVAE(ScaleSpaceAE):
    """The scale-space autoencoder whose codes, band by band, are pulled towards N(0, I).

    Baur, Wiestler, Albarqouni, Navab 2020, "Scale-Space Autoencoders" (MICCAI), variational form.
    With zₖ ~ q(zₖ|Hₖ) = N(μₖ, σₖ²) for each band k, I_K being the last,

        L = Σₖ ‖Iₖ − Îₖ‖₁ + β·Σₖ KL(q(zₖ|Hₖ) ‖ N(0, I))

    summed over pixels and codes, mean over the batch. In use the means are decoded.

    1,524,516 parameters at 128², one channel.

    Args:
        kl_weight: β.

    Raises:
        ConfigError: as the scale-space autoencoder.

    All else as :class:`aberra.models.scale_space_ae.ScaleSpaceAE`.
    """

    name = "scale-space-vae"

    @configured("model", extends=ScaleSpaceAE)
    def __init__(self, *, kl_weight: NotNegative = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.kl_weight = kl_weight
        means = [mean for _, mean, _ in self._parts()]
        self.log_variances = nn.ModuleList(
            conv(len(mean.kernel_size))(mean.in_channels, mean.out_channels, 1) for mean in means
        )

    def posteriors(self, parts: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Mean and log-variance of q(zₖ|Hₖ), each (B, latent, S'), of the bands, finest first."""
        found = []
        for (reads, mean, _), head, part in zip(self._parts(), self.log_variances, parts, strict=True):
            features = reads(part)
            found.append((mean(features), head(features)))
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error of all levels with one posterior sample an image, and the KL terms.

        The mask is not used.
        """
        images = gaussian_pyramid(batch.x, self.levels)
        posteriors = self.posteriors(bands(images))
        drawn = [
            restores(posterior_sample(*posterior, batch.generator))
            for (_, _, restores), posterior in zip(self._parts(), posteriors, strict=True)
        ]
        errors = [
            (image - restored).abs().sum() / len(batch.x)
            for image, restored in zip(images, collapse(drawn), strict=True)
        ]
        divergences = [kl_to_standard_normal(*each).mean() for each in posteriors]
        kl = sum(divergences[1:], divergences[0])
        return {
            "loss": sum(errors[1:], errors[0]) + times(self.kl_weight, kl),
            "reconstruction": errors[0],
            "kl": kl,
        }

    def _parts(self) -> list[tuple[nn.Sequential, nn.Conv2d, nn.Sequential]]:
        """Of each band what reads it, the mean of its code, and what restores it."""
        found = []
        for band, at in zip(self.bands, self.codes, strict=True):
            layers = list(cast("nn.Sequential", band))
            mean = cast("nn.Conv2d", layers[at])
            found.append((nn.Sequential(*layers[:at]), mean, nn.Sequential(*layers[at + 1 :])))
        return found
