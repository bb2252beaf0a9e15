"""Variational autoencoder whose codes are pressed to be independent of each other."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

import torch

from aberra.models.vae import VAE, posterior_sample
from aberra.options import NotNegative, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class BetaTCVAE(VAE):
    """A VAE whose KL term is taken apart, so that the total correlation of the codes has a weight
    of its own.

    Chen, Li, Grosse, Duvenaud 2018, *Isolating Sources of Disentanglement in Variational
    Autoencoders* (arXiv 1802.04942), eqs. 2 and 4: E_x KL(q(z|x) ‖ p(z)) is the mutual information
    of code and image, I = E[log q(z|x) − log q(z)], plus the total correlation, TC = E[log q(z) −
    Σ_j log q(z_j)], plus Σ_j KL(q(z_j) ‖ p(z_j));

        L = −log p(x|z) + w·(α·I + β·TC + γ·Σ_j KL(q(z_j) ‖ p(z_j))),

    w the VAE's ``kl_weight`` with its schedule. Densities of the aggregate posterior are estimated
    on the batch (eq. 5): log q(z) = log (1/M) Σ_m q(z|x_m). With α = β = γ = 1 it is the VAE's loss
    with a sampled KL term.

    1,758,449 parameters at 128² with one channel, as the VAE.

    Args:
        information: α.
        total_correlation: β; the paper's experiments have 1 to 10.
        dimensions: γ.

    Raises:
        ConfigError: as the VAE, or a negative weight.

    Deviation: the estimator's factor 1/N, N the number of training images, is left out: it shifts
    the three terms by constants, and no gradient. All else as :class:`aberra.models.vae.VAE`.

    Examples:
        >>> import torch
        >>> from aberra.batch import Batch
        >>> from aberra.models.beta_tc_vae import BetaTCVAE
        >>> model = BetaTCVAE(channels=1, size=(32, 32), latent=4, network={"width": 4})
        >>> x = torch.rand(8, 1, 32, 32)
        >>> losses = model.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0)))
        >>> sorted(losses)
        ['dimensions', 'information', 'kl', 'loss', 'reconstruction', 'total_correlation']
    """

    name = "beta-tc-vae"
    compares_samples = True

    @configured("model", extends=VAE)
    def __init__(
        self,
        *,
        information: NotNegative = 1.0,
        total_correlation: NotNegative = 6.0,
        dimensions: NotNegative = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.weights = (information, total_correlation, dimensions)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Reconstruction term and the three parts of KL, one posterior sample an image."""
        mean, log_variance = self.encode(batch.x)
        z = posterior_sample(mean, log_variance, batch.generator)
        mask = batch.mask if self.masked else None
        reconstruction = self.negative_log_likelihood(batch.x, self.decode(z), mask).mean()
        parts = kl_parts(z, mean, log_variance)
        kl = sum((weight * part for weight, part in zip(self.weights, parts, strict=True)), z.new_zeros(()))
        return {
            "loss": reconstruction + self.weighted(kl, batch.step),
            "reconstruction": reconstruction,
            "kl": torch.stack(parts).sum(),
            "information": parts[0],
            "total_correlation": parts[1],
            "dimensions": parts[2],
        }


def kl_parts(z: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information, total correlation and dimension-wise KL of codes, estimated on a batch
    (Chen et al. 2018, eq. 5, without 1/N); scalars, whose sum is the mean of log q(z|x) − log p(z).

    Args:
        z: a sample of each posterior, (B, K) or (B, K, S').
        mean: of the posteriors, the same shape.
        log_variance: likewise.
    """
    with torch.autocast(z.device.type, enabled=False):
        z, mean, log_variance = (each.float().flatten(1) for each in (z, mean, log_variance))
        # log q(z_b,k | x_m), (B, M, K)
        every = _log_normal(z[:, None], mean[None], log_variance[None])
        own = _log_normal(z, mean, log_variance).sum(dim=1)
        count = log(len(z))
        together = every.sum(dim=2).logsumexp(dim=1) - count
        apart = (every.logsumexp(dim=1) - count).sum(dim=1)
        prior = _log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
        return (own - together).mean(), (together - apart).mean(), (apart - prior).mean()


def _log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log N(z; μ, σ²) of each number."""
    return -0.5 * ((z - mean) ** 2 * torch.exp(-log_variance) + log_variance + log(2 * torch.pi))
