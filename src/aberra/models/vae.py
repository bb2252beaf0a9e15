"""Variational autoencoder on the unified network (B24, H1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.unified import Decoder, Encoder, Expand, Squeeze, inner_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator


class VAE(nn.Module):
    """An autoencoder whose posterior q(z|x) = N(μ, σ²) is pulled towards N(0, I).

    Baur et al. 2021 (arXiv 2004.03271), row "VAE"; Kingma & Welling 2014. L = ‖x − x̂‖₁ + λ·½Σ(μ² + σ² − log σ² − 1),
    both summed over pixels or latent dimensions, mean over the batch, so λ is relative to a sum over 16,384 pixels.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        latent: K.
        width: filters of the first stage.
        dropout: on the heads and on the dense layer behind the code.
        kl_weight: λ.

    Raises:
        ConfigError: a size that cannot be halved.

    Deviation: the second head is log σ², the study's log σ. Else as :class:`aberra.models.ae.AE`.
    """

    def __init__(
        self,
        *,
        channels: int,
        dims: int = 2,
        size: Sequence[int],
        latent: int = 128,
        width: int = 32,
        dropout: float = 0.2,
        kl_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.kl_weight = kl_weight
        inner = inner_size(size)
        self.encoder = Encoder(channels=channels, dims=dims, size=size, width=width)
        filters = self.encoder.filters
        self.squeeze = Squeeze(dims=dims, filters=filters, inner=inner)
        self.mean = nn.Sequential(nn.Linear(self.squeeze.features, latent), nn.Dropout(dropout))
        self.log_variance = nn.Sequential(nn.Linear(self.squeeze.features, latent), nn.Dropout(dropout))
        self.expand = Expand(dims=dims, filters=filters, inner=inner, latent=latent, dropout=dropout)
        self.decoder = Decoder(channels=channels, dims=dims, size=size, width=width, filters=filters)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, K)."""
        features = self.squeeze(self.encoder(x))
        return self.mean(features), self.log_variance(features)

    def decode(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, C, S)."""
        out: Tensor = self.decoder(self.expand(z))
        return out

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the posterior mean: (B, C, S) to (B, C, S)."""
        return self.decode(self.encode(x)[0])

    def loss(self, x: Tensor, mask: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Negative ELBO with an ℓ1 reconstruction term, one posterior sample an image."""
        del mask
        mean, log_variance = self.encode(x)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        restored = self.decode(mean + noise * torch.exp(0.5 * log_variance))
        reconstruction = F.l1_loss(restored, x, reduction="sum") / len(x)
        kl = kl_to_standard_normal(mean, log_variance)
        return {"loss": reconstruction + self.kl_weight * kl, "reconstruction": reconstruction, "kl": kl}


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) = ½Σ(μ² + σ² − log σ² − 1), summed over all but the batch, mean over the batch."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum() / len(mean)
