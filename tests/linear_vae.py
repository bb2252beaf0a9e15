"""A VAE whose every term has a closed form: x = W z + b + ε, q(z|x) = N(A(x − b), σ²)."""

from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner


class LinearVAE(torch.nn.Module):
    """−log p(x|z) = ½‖x − W A (x − b) − b‖²; KL = ½(‖A(x − b)‖² + K(σ² − log σ² − 1))."""

    def __init__(self, size=(6, 6), latent=3, sigma=0.7):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        count = size[0] * size[1]
        self.size = size
        self.sigma = sigma
        self.encoder = torch.nn.Parameter(0.3 * torch.randn(latent, count, generator=generator))
        self.decoder = torch.nn.Parameter(0.3 * torch.randn(count, latent, generator=generator))
        self.offset = torch.nn.Parameter(torch.rand(count, generator=generator))

    def code(self, x):
        return (x.flatten(1) - self.offset) @ self.encoder.T

    def generate(self, z):
        return (z @ self.decoder.T + self.offset).reshape(-1, 1, *self.size)

    def latent_shape(self):
        return (self.encoder.shape[0],)

    def reconstruct(self, x):
        return self.generate(self.code(x))

    def sample_reconstructions(self, x, count):
        from aberra.diffusion.noise import shared

        mean = self.code(x)
        for draw in range(count):
            yield self.generate(mean + self.sigma * shared("gaussian", draw, mean))

    def elbo_terms(self, x):
        z = self.code(x)
        spread = torch.tensor(self.sigma)
        kl = 0.5 * (z**2 + spread**2 - 2 * spread.log() - 1).sum(dim=1)
        return 0.5 * ((x - self.reconstruct(x)) ** 2).flatten(1).sum(dim=1), kl

    def gradients(self, x):
        """Closed forms of the gradients of both terms, (B, C, S) each."""
        flat = x.flatten(1) - self.offset
        count = flat.shape[1]
        left = torch.eye(count) - self.decoder @ self.encoder
        reconstruction = flat @ left.T @ left
        kl = flat @ self.encoder.T @ self.encoder
        return reconstruction.reshape(x.shape).detach(), kl.reshape(x.shape).detach()


@pytest.fixture
def linear():
    """A linear-Gaussian VAE of 6×6 images, five slices, a mask, and what runs it."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(5, 6, 6, dtype=torch.bool)
    mask[:, 0] = False
    return LinearVAE(), torch.rand(1, 5, 6, 6, generator=generator), mask, Runner(dims=2, size=(6, 6))
