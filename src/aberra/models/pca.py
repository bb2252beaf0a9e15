"""Principal components of healthy slices: the linear autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError, NotFittedError
from aberra.options import Count, Dims, Edge, Width, configured

RELATIVE_RANK = 1e-9
"""Components with a smaller share of the first one's variance are noise of the arithmetic and are
left out."""

COLUMNS = 65_536
"""Pixels at a time in 64 bit, so that memory stays bounded."""


class PCA(nn.Module):
    """Projects a slice on the span of healthy slices; what lies outside is anomalous.

    x̂ = μ + VᵀV (x − μ), the rows of V being the K orthonormal directions of most variance among
    healthy slices: of all linear reconstructions through K numbers the one with the least squared
    error (Eckart & Young 1936). The classical baseline; Saase's entry of the MOOD challenge 2020 is
    :class:`aberra.models.standardised_pca.StandardisedPCA`.

    Args:
        channels: C.
        dims: 2 (components of slices) or 3 (of volumes, or patches of them).
        size: spatial shape S of the input.
        components: K; fewer where the samples span less (at most samples − 1), the rest of V is
            then zero.

    Raises:
        ConfigError: no component, or a size of other dimensions.
        NotFittedError: asked before :meth:`fit_samples`.

    No weights; 16,384·(K + 1) numbers at 128², one channel.
    """

    name = "pca"

    @configured("model")
    def __init__(
        self, *, channels: Width, dims: Dims = 2, size: Sequence[Edge], components: Count = 128
    ) -> None:
        super().__init__()
        if len(size) != dims:
            raise ConfigError(f"prepare.size={list(size)}: expected {dims} edges, for prepare.dims={dims}")
        self.mean: Tensor
        self.components: Tensor
        features = channels * prod(size)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("components", torch.zeros(components, features))

    def fit_samples(self, x: Tensor, mask: Tensor, seed: int) -> None:
        """Find mean and components of ``x`` (N, C, S), exactly, by the N×N matrix of inner
        products: V = Λ^(−½) Uᵀ X.
        """
        del mask, seed
        flat = x.flatten(1)
        mean = flat.mean(dim=0, dtype=torch.float64)
        gram = torch.zeros(len(x), len(x), dtype=torch.float64)
        pieces = list(zip(torch.split(flat, COLUMNS, dim=1), torch.split(mean, COLUMNS), strict=True))
        for values, level in pieces:
            centred = values.double() - level
            gram += centred @ centred.T
        variances, directions = torch.linalg.eigh(gram)  # ascending
        most = min(len(self.components), len(x) - 1)
        kept = (variances > RELATIVE_RANK * variances[-1]).nonzero().flatten().flip(0)[:most]
        weights = directions[:, kept] / variances[kept].sqrt()
        self.mean.copy_(mean)
        self.components.zero_()
        if len(kept):
            found = [weights.T @ (values.double() - level) for values, level in pieces]
            self.components[: len(kept)] = torch.cat(found, dim=1).to(self.components)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        if not (self.components.any() or self.mean.any()):
            raise NotFittedError(self.name)
        with torch.autocast(x.device.type, enabled=False):  # a sum over 16,384 pixels needs its digits
            centred = x.float().flatten(1) - self.mean
            restored = self.mean + centred @ self.components.T @ self.components
        return restored.reshape(x.shape)
