"""Variational autoencoder: plain, annealed β, masked loss; Gaussian or Laplace output of fixed
scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from aberra.diffusion.noise import shared
from aberra.nets.networks import Choice, Codes, network_for
from aberra.options import Count, Dims, Edge, NotNegative, Positive, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator

    from aberra.batch import Batch

Anneal = Literal["none", "monotonic", "cyclical"]
Likelihood = Literal["laplace", "gaussian"]


class VAE(nn.Module):
    """An autoencoder whose posterior q(z|x) = N(μ, σ²) is pulled towards N(0, I).

    Baur et al. 2021 (arXiv 2004.03271), row "VAE"; Kingma & Welling 2014. L = −log p(x|z) +
    β·½Σ(μ² + σ² − log σ² − 1), both summed over pixels or latent dimensions, mean over the batch,
    so β is relative to a sum over 16,384 pixels. With ``likelihood = "laplace"``, −log p(x|z) = ‖x
    − x̂‖₁ / c (the study, c = 1); with ``gaussian``, ‖x − x̂‖² / 2c² (Zimmerer 2018), c being a
    fixed standard deviation; constants are dropped.

    1,758,449 parameters at 128² with one channel, Zimmerer's network of the ceVAE 34,183,601; his
    of the VAE, a code of 256, at 64² 3,752,448.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: of vectors, ``unified`` (the study), ``zimmerer2018``, ``zimmerer2019`` or ``mlp``,
            or of maps; its dropout acts on the heads, too.
        latent: K, numbers of a vector or of each location of a map; by default 128, or what the
            network's own heads give.
        kl_weight: β; where it is annealed, its final value.
        anneal: ``none``, ``monotonic`` (β rises linearly from 0; Heer 2021) or ``cyclical`` (it
            does so again and again, half of each cycle rising, half at its full value; Fu et al.
            2019).
        anneal_steps: training steps until β is reached, or of one cycle; Heer's 2,000.
        masked: reconstruction loss inside the foreground only (Heer 2021).
        likelihood: ``laplace`` or ``gaussian``.
        scale: c, in normalised intensities.

    Raises:
        ConfigError: unknown option or network, a size that cannot be halved, or a scale that is not
            positive.

    Deviation: the second head is log σ², the study's log σ. Else as :class:`aberra.models.ae.AE`.
    """

    name = "vae"
    NETWORK: ClassVar = {"name": "unified"}

    LIKELIHOODS: tuple[Likelihood, ...] = get_args(Likelihood)

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        latent: Width | None = None,
        kl_weight: NotNegative = 1.0,
        anneal: Anneal = "none",
        anneal_steps: Count = 2000,
        masked: bool = False,
        likelihood: Likelihood = "laplace",
        scale: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.kl_weight = kl_weight
        self.anneal = anneal
        self.anneal_steps = anneal_steps
        self.masked = masked
        self.likelihood = likelihood
        self.scale = scale
        self.network = network_for(self, network, Codes, channels=channels, dims=dims, size=size)
        self.latent = self.network.latent if latent is None else latent
        self.encoder = self.network.encoder()
        self.mean, self.log_variance = self.network.heads(self.encoder.features, self.latent)
        self.decoder = self.network.decoder(self.latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, K) or (B, K, S')."""
        features = self.encoder(x)
        return self.mean(features), self.log_variance(features)

    def code(self, x: Tensor) -> Tensor:
        """The posterior mean, (B, K) or (B, K, S')."""
        return self.encode(x)[0]

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Maps of the encoder, finest first: (B, F, S / 2ᵏ)."""
        return self.encoder.maps(x)

    def decode(self, z: Tensor) -> Tensor:
        """Shape (B, K) or (B, K, S') to (B, C, S)."""
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
            noise = shared("gaussian", draw, mean)
            yield self.decode(mean + noise * torch.exp(0.5 * log_variance))

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction term at the posterior mean and unweighted KL term, each (B,)."""
        mean, log_variance = self.encode(x)
        return self.negative_log_likelihood(x, self.decode(mean)), kl_to_standard_normal(mean, log_variance)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Negative ELBO, one posterior sample an image."""
        return self.bound(batch, batch.x)

    def bound(self, batch: Batch, seen: Tensor) -> dict[str, Tensor]:
        """Negative ELBO of a batch whose encoder sees ``seen`` (B, C, S) instead."""
        mean, log_variance = self.encode(seen)
        restored = self.decode(posterior_sample(mean, log_variance, batch.generator))
        mask = batch.mask if self.masked else None
        reconstruction = self.negative_log_likelihood(batch.x, restored, mask).mean()
        kl = kl_to_standard_normal(mean, log_variance).mean()
        return {
            "loss": reconstruction + self.weighted(kl, batch.step),
            "reconstruction": reconstruction,
            "kl": kl,
        }

    def negative_log_likelihood(self, x: Tensor, restored: Tensor, mask: Tensor | None = None) -> Tensor:
        """−log p(x|z) without its constant, summed over pixels (of ``mask``, where given): (B,)."""
        if self.likelihood == "laplace":
            error = (x - restored).abs() / self.scale
        else:
            error = (x - restored) ** 2 / (2 * self.scale**2)
        return (error if mask is None else error * mask).flatten(1).sum(dim=1)

    def weighted(self, kl: Tensor, step: int) -> Tensor | float:
        """The KL term of the loss."""
        return times(self.beta(step), kl)

    def beta(self, step: int) -> float:
        """Weight of the KL term after so many training steps."""
        if self.anneal == "none":
            return self.kl_weight
        done = step if self.anneal == "monotonic" else 2 * (step % self.anneal_steps)
        return self.kl_weight * min(done / self.anneal_steps, 1.0)


def times(beta: float, kl: Tensor) -> Tensor | float:
    """β·KL; nothing where β is 0, as σ may then grow until its KL overflows."""
    return beta * kl if beta else 0.0


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) = ½Σ(μ² + σ² − log σ² − 1), summed over all but the batch: (B,)."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).flatten(1).sum(dim=1)


def posterior_sample(mean: Tensor, log_variance: Tensor, generator: Generator) -> Tensor:
    """One draw of N(μ, σ²) by reparameterisation, any shape."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + noise * torch.exp(0.5 * log_variance)
