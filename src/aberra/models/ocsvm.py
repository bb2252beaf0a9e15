"""One-class support vector machine on the surroundings of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError, NotFittedError, TrainingError
from aberra.options import Between, Dims, Several, Sigma, Width, configured

if TYPE_CHECKING:
    from torch import Generator

CHUNK = 65_536
"""Voxels at a time, so that memory stays bounded."""


class OneClassSVM(nn.Module):
    """Encloses the healthy voxels in feature space; the further out a voxel lies, the more
    anomalous it is.

    Schölkopf et al. 2001: with support vectors sᵢ, weights αᵢ and k(u, v) = exp(−γ‖u − v‖²), the
    decision f(v) = Σᵢ αᵢ k(sᵢ, v) − ρ is negative for a share ν of the healthy voxels. Features of
    a voxel, after El Azami et al. 2016: the mean of its surroundings inside the foreground at
    several Gaussian scales, and the contrast of neighbouring scales, standardised. The score is
    −log(Σᵢ αᵢ k(sᵢ, v) / Σᵢ αᵢ) ≥ 0: it rises where f falls, and does not level off far away, as f
    does.

    Args:
        channels: C.
        dims: 2 (surroundings within the slice) or 3.
        scales: σ of the Gaussians in pixels, ascending; 0 is the voxel itself.
        nu: ν.
        vectors: voxels to learn from.

    Raises:
        ConfigError: ν outside (0, 1), scales that do not ascend from 0 or more, or no voxel to
            learn from.
        NotFittedError: asked before :meth:`fit_samples`.

    No weights; 2,000·(F + 1) + 2F + 2 numbers with F = 7 features a channel.

    Deviation: voxels of the whole brain share one machine; El Azami has one a location, Zimmerer
    2022 one for whole slices.
    """

    name = "ocsvm"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        scales: Sequence[Sigma] = (0.0, 1.0, 2.0, 4.0),
        nu: Between = 0.05,
        vectors: Several = 2000,
    ) -> None:
        super().__init__()
        if not scales or any(after <= before for before, after in pairwise(scales)):
            raise ConfigError(f"model.scales={list(scales)}; expected ascending σ of 0 or more pixels")
        self.dims = dims
        self.scales = tuple(float(scale) for scale in scales)
        self.nu = nu
        features = channels * (2 * len(self.scales) - 1)
        self.mean: Tensor
        self.std: Tensor
        self.support: Tensor
        self.weights: Tensor
        self.offset: Tensor
        self.gamma: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("support", torch.zeros(vectors, features))
        self.register_buffer("weights", torch.zeros(vectors))  # α; rows without a support vector have 0
        self.register_buffer("offset", torch.zeros(()))  # ρ
        self.register_buffer("gamma", torch.ones(()))

    def fit_samples(self, x: Tensor, mask: Tensor, seed: int) -> None:
        """Learn from voxels drawn from the foreground of ``x`` (N, C, S), ``mask`` (N, 1, S).

        Raises:
            TrainingError: fewer than two foreground voxels.
        """
        from sklearn.svm import OneClassSVM as Machine

        generator = torch.Generator().manual_seed(seed)
        drawn = self._draw(x, mask, generator)
        self.mean.copy_(drawn.mean(dim=0))
        self.std.copy_(drawn.std(dim=0).clamp(min=1e-6))
        drawn = (drawn - self.mean.cpu()) / self.std.cpu()
        # "scale" is 1 / (F · variance); the features are standardised, so this is the same up
        # to rounding
        gamma = 1 / drawn.shape[1]
        machine = Machine(kernel="rbf", nu=self.nu, gamma=gamma).fit(drawn.double().numpy())
        count = len(machine.support_vectors_)
        self.support.zero_()[:count] = torch.from_numpy(machine.support_vectors_).to(self.support)
        self.weights.zero_()[:count] = torch.from_numpy(machine.dual_coef_[0]).to(self.weights)
        self.offset.fill_(-float(machine.intercept_[0]))
        self.gamma.fill_(gamma)

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) to (D, H, W), non-negative and zero outside the mask."""
        inside = mask.bool()
        # a 2-D model sees the slices as a batch
        samples, foreground = (
            (x.movedim(1, 0), inside[:, None]) if self.dims == 2 else (x[None], inside[None, None])
        )
        features = self.features(samples, foreground.float())
        score = torch.zeros(inside.shape, device=x.device)
        score[inside] = self.distance((features - self.mean) / self.std)
        return score

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features of the V foreground voxels, in the mask's order: (N, C, S), (N, 1, S) to (V, F),
        not standardised.
        """
        means = [self._surroundings(x, mask, scale) for scale in self.scales]
        contrasts = [fine - coarse for fine, coarse in pairwise(means)]
        return torch.cat(means + contrasts, dim=1).movedim(1, -1)[mask[:, 0] > 0]

    def distance(self, features: Tensor) -> Tensor:
        """Score of standardised features: (V, F) to (V,)."""
        used = self.weights > 0
        if not used.any():
            raise NotFittedError(self.name)
        support, weights = self.support[used].double(), self.weights[used].double()
        level = (weights / weights.sum()).log()
        parts = []
        for part in torch.split(features, CHUNK):
            squared = torch.cdist(part.double(), support) ** 2
            parts.append(-torch.logsumexp(level - self.gamma * squared, dim=1).float())
        return torch.cat(parts).clamp(min=0) if parts else features.new_zeros(0)

    def decision(self, features: Tensor) -> Tensor:
        """Decision f of standardised features: (V, F) to (V,), negative outside."""
        return self.weights.sum() * torch.exp(-self.distance(features)) - self.offset

    def _draw(self, x: Tensor, mask: Tensor, generator: Generator) -> Tensor:
        """Features of ``vectors`` random foreground voxels (all, where there are fewer), one sample
        at a time.
        """
        inside = mask.flatten(1) > 0
        counts = inside.sum(dim=1)
        total = int(counts.sum())
        if total < 2:
            raise TrainingError(
                f"one-class SVM: {total} foreground voxel(s) to learn from; expected 2 or more"
            )
        picks = torch.randperm(total, generator=generator)[: len(self.support)].sort().values
        ends = counts.cumsum(0)
        found = []
        for index, (end, count) in enumerate(zip(ends.tolist(), counts.tolist(), strict=True)):
            own = picks[(picks >= end - count) & (picks < end)] - (end - count)
            if len(own):
                found.append(self.features(x[index : index + 1], mask[index : index + 1])[own])
        return torch.cat(found)

    def _surroundings(self, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Gaussian mean over the foreground: (N, C, S) to (N, C, S).

        What is beyond the edges does not count either.
        """
        if not scale:
            return x
        return _blurred(x * mask, scale) / _blurred(mask, scale).clamp(min=1e-6)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian filter, cut off at 3σ, with zeros beyond the edges: (N, C, S) to (N, C, S)."""
    reach = ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(2, x.ndim):
        rows = x.movedim(axis, -1)
        flat = rows.reshape(-1, 1, rows.shape[-1])
        x = F.conv1d(flat, kernel[None, None], padding=reach).reshape(rows.shape).movedim(-1, axis)
    return x
