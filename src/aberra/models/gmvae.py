"""Gaussian mixture variational autoencoder with a dense or a spatial code."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from aberra.diffusion.noise import shared
from aberra.models.vae import kl_to_standard_normal, posterior_sample
from aberra.nets.networks import Choice, Codes, network_for
from aberra.options import Dims, Edge, Few, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


HIDDEN = 64
"""Units between w and the components of the prior."""


class GMVAE(nn.Module):
    """A VAE whose prior is a mixture of Gaussians that is learnt: healthy anatomy may have several
    kinds.

    Dilokthanakul et al. 2016 (arXiv 1611.02648); You, Tezcan, Chen, Konukoglu 2019 (MIDL, PMLR
    102); Baur et al. 2021 (arXiv 2004.03271), rows "GMVAE". p(w) = N(0, I), p(c) = 1/K, p(z|w, c) =
    N(μ_c(w), σ_c²(w)), p(x|z) Laplace;

        L = ‖x − x̂‖₁ + Σ_c q(c|z, w)·KL(q(z|x) ‖ p(z|w, c)) + KL(q(w|x) ‖ p(w)) + max(λ_c,
        KL(q(c|z, w) ‖ p(c)))

    with one sample of z and w; q(c|z, w) ∝ p(z|w, c) in closed form. The spatial code has its own
    z, w and c at every location; terms are summed over locations, the maximum is taken location by
    location.

    Shapes: z (B, Z, S'), w (B, W, S'), c (B, K, S'), S' being the code's grid, and nothing for the
    dense code.

    At 128² with one channel 1,910,387 parameters (network ``unified``), 1,559,395
    (``unified-spatial``), 372,695 (``you``).

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: of vectors, or of maps: ``unified`` and ``unified-spatial`` (the study) or ``you``;
            its dropout acts on the heads, too.
        latent: Z, numbers of a vector or of each location; None is the publication's 128 (``you``
            1).
        clusters: K.
        dim_w: W.
        cluster_floor: λ_c, nats: below it the KL of c is not paid for, so that clusters may part.

    Raises:
        ConfigError: unknown option or network, no clusters or latent numbers, or a size that cannot
            be halved.

    Deviation: the spatial decoder is fed the sampled z, as the papers say; the study's public code
    feeds it the encoder's features. The spatial code has the thesis's 128 numbers a location, the
    public code 1. Heads give log σ².
    """

    name = "gmvae"
    NETWORK: ClassVar = {"name": "unified"}
    LATENTS: ClassVar = {"you": 1}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        latent: Width | None = None,
        clusters: Few = 9,
        dim_w: Width = 1,
        cluster_floor: NotNegative = 1.0,
    ) -> None:
        super().__init__()
        self.clusters = clusters
        self.cluster_floor = cluster_floor
        net = network_for(self, network, Codes, channels=channels, dims=dims, size=size)
        self.latent = latent = self.LATENTS.get(net.name, 128) if latent is None else latent
        self.encoder = net.encoder()
        self.decoder = net.decoder(latent)
        features, layer = self.encoder.features, net.layer

        def head(after: int) -> nn.Module:
            return nn.Sequential(layer(features, after), nn.Dropout(net.dropout))

        self.mean, self.log_variance = head(latent), head(latent)
        self.w_mean, self.w_log_variance = head(dim_w), head(dim_w)
        self.prior = nn.Sequential(layer(dim_w, HIDDEN), nn.ReLU(), layer(HIDDEN, 2 * clusters * latent))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, Z) or (B, Z, S')."""
        features = self.encoder(x)
        return self.mean(features), self.log_variance(features)

    def code(self, x: Tensor) -> Tensor:
        """The posterior mean, (B, Z) or (B, Z, S')."""
        return self.encode(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Shape (B, Z) or (B, Z, S') to (B, C, S)."""
        out: Tensor = self.decoder(z)
        return out

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the posterior mean: (B, C, S) to (B, C, S)."""
        return self.decode(self.code(x))

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Decode ``count`` posterior samples: (B, C, S) each, the same noise for every image of the
        batch.
        """
        mean, log_variance = self.encode(x)
        for draw in range(count):
            yield self.decode(mean + shared("gaussian", draw, mean) * torch.exp(0.5 * log_variance))

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ℓ1 error and the sum of the KL terms, each (B,), at the posterior means; λ_c does not act
        here.
        """
        z, w = self._posteriors(x)
        error = (x - self.decode(z[0])).abs().flatten(1).sum(dim=1)
        return error, sum(self._divergences(z, w, z[0], w[0], floor=0.0).values(), torch.zeros_like(error))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Negative ELBO with one posterior sample an image and the floor under the KL of c.

        The mask is not used.
        """
        x, generator = batch.x, batch.generator
        z, w = self._posteriors(x)
        z_drawn, w_drawn = posterior_sample(*z, generator), posterior_sample(*w, generator)
        reconstruction = (x - self.decode(z_drawn)).abs().sum() / len(x)
        divergences = self._divergences(z, w, z_drawn, w_drawn, floor=self.cluster_floor)
        means = {name: value.mean() for name, value in divergences.items()}
        return {"loss": sum(means.values(), reconstruction), "reconstruction": reconstruction, **means}

    def components(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of p(z|w, c), each (B, K, Z, S'), of ``w`` (B, W, S')."""
        both = self.prior(w).unflatten(1, (2, self.clusters, self.latent))
        return both[:, 0], both[:, 1]

    def responsibilities(self, z: Tensor, w: Tensor) -> Tensor:
        """q(c|z, w): (B, K) or (B, K, S'), sums to one over K; ``z`` (B, Z, S'), ``w`` (B, W, S')."""
        return _log_responsibilities(z, *self.components(w)).exp()

    def _posteriors(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Mean and log-variance of q(z|x) and of q(w|x)."""
        features = self.encoder(x)
        z = self.mean(features), self.log_variance(features)
        return z, (self.w_mean(features), self.w_log_variance(features))

    def _divergences(
        self,
        z_posterior: tuple[Tensor, Tensor],
        w_posterior: tuple[Tensor, Tensor],
        z: Tensor,
        w: Tensor,
        *,
        floor: float,
    ) -> dict[str, Tensor]:
        """KL of z, w and c, each (B,), with q(c|z, w) at the given ``z`` and ``w``."""
        means, log_variances = self.components(w)
        mean, log_variance = (each.unsqueeze(1) for each in z_posterior)
        # KL(N(m, s²) ‖ N(μ, σ²)) = ½Σ(s²/σ² + (m − μ)²/σ² − 1 + log σ² − log s²)
        relative = log_variance - log_variances
        to_component = 0.5 * (
            relative.exp() + (mean - means) ** 2 * torch.exp(-log_variances) - 1 - relative
        ).sum(dim=2)
        log_share = _log_responsibilities(z, means, log_variances)
        share = log_share.exp()
        of_z = (share * to_component).sum(dim=1)
        of_c = (share * (log_share + log(self.clusters))).sum(dim=1).clamp(min=floor)
        return {
            "kl_z": of_z.reshape(len(of_z), -1).sum(dim=1),
            "kl_w": kl_to_standard_normal(*w_posterior),
            "kl_c": of_c.reshape(len(of_c), -1).sum(dim=1),
        }


def _log_responsibilities(z: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Log of q(c|z, w), of components (B, K, Z, S'): (B, K, S'). The uniform p(c) cancels."""
    distance = (z.unsqueeze(1) - means) ** 2 * torch.exp(-log_variances)
    return (-0.5 * (distance + log_variances).sum(dim=2)).log_softmax(dim=1)
