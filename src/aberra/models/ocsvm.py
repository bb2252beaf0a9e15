"""One-class support vector machines, on the surroundings of voxels and on whole slices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError, NotFittedError, TrainingError
from aberra.options import Between, Dims, Edge, Several, Sigma, Width, configured

if TYPE_CHECKING:
    from torch import Generator

CHUNK = 65_536
"""Voxels at a time, so that memory stays bounded."""


class Machine(nn.Module):
    """What encloses healthy features: support vectors, their weights, and the score of a point.

    Args:
        features: F.
        vectors: most support vectors.
        nu: ν, the share of the healthy features that may lie outside.
    """

    name: ClassVar[str]

    def __init__(self, *, features: int, vectors: int, nu: float) -> None:
        super().__init__()
        self.nu = nu
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

    def enclose(self, features: Tensor, std: Tensor) -> None:
        """Learn from features (V, F), which are centred and divided by ``std``."""
        from sklearn.svm import OneClassSVM as Fitted

        self.mean.copy_(features.mean(dim=0))
        self.std.copy_(std.clamp(min=1e-6))
        features = (features - self.mean.cpu()) / self.std.cpu()
        # "scale" is 1 / (F · variance); the features are standardised, so this is the same up
        # to rounding
        gamma = 1 / features.shape[1]
        machine = Fitted(kernel="rbf", nu=self.nu, gamma=gamma).fit(features.double().numpy())
        count = len(machine.support_vectors_)
        self.support.zero_()[:count] = torch.from_numpy(machine.support_vectors_).to(self.support)
        self.weights.zero_()[:count] = torch.from_numpy(machine.dual_coef_[0]).to(self.weights)
        self.offset.fill_(-float(machine.intercept_[0]))
        self.gamma.fill_(gamma)

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


class OneClassSVM(Machine):
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
        if not scales or any(after <= before for before, after in pairwise(scales)):
            raise ConfigError(f"model.scales={list(scales)}; expected ascending σ of 0 or more pixels")
        super().__init__(features=channels * (2 * len(scales) - 1), vectors=vectors, nu=nu)
        self.dims = dims
        self.scales = tuple(float(scale) for scale in scales)

    def fit_samples(self, x: Tensor, mask: Tensor, seed: int) -> None:
        """Learn from voxels drawn from the foreground of ``x`` (N, C, S), ``mask`` (N, 1, S).

        Raises:
            TrainingError: fewer than two foreground voxels.
        """
        drawn = self._draw(x, mask, torch.Generator().manual_seed(seed))
        self.enclose(drawn, drawn.std(dim=0))

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


class SliceSVM(Machine):
    """Encloses healthy slices as they are; a slice far out is anomalous as a whole.

    Schölkopf et al. 2001, on the pixels of axial slices as in Zimmerer 2018 (arXiv 1812.05941),
    whose simplest baseline it is. The score of a slice is that of :class:`OneClassSVM`, which
    orders slices as the decision function does; its map is constant inside each slice.

    Args:
        channels: C.
        dims: 2 or 3; slices across the first axis in either case.
        edge: a slice is averaged down to so many pixels along either axis.
        nu: ν.
        vectors: most slices to learn from; more are thinned out evenly.

    Raises:
        ConfigError: ν outside (0, 1), or no slice to learn from.
        NotFittedError: asked before :meth:`fit_samples`.

    No weights; 1,024·C·(vectors + 2) + vectors + 2 numbers.

    Deviation: 32² pixels a slice; the publication says neither kernel, ν nor size.
    """

    name = "ocsvm-slices"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        edge: Edge = 32,
        nu: Between = 0.05,
        vectors: Several = 512,
    ) -> None:
        super().__init__(features=channels * edge**2, vectors=vectors, nu=nu)
        self.dims = dims
        self.edge = edge

    def fit_samples(self, x: Tensor, mask: Tensor, seed: int) -> None:
        """Learn from the slices of ``x`` (N, C, S), ``mask`` (N, 1, S), that have a foreground.

        Raises:
            TrainingError: fewer than two.
        """
        del seed
        if self.dims == 3:
            x, mask = (each.movedim(2, 1).flatten(0, 1) for each in (x, mask))
        features = self.features(x, mask)[mask.flatten(1).any(dim=1)]
        if len(features) < 2:
            raise TrainingError(
                f"one-class SVM: {len(features)} slice(s) with a foreground to learn from; expected 2 or more"
            )
        count = min(len(features), len(self.support))
        features = features[torch.linspace(0, len(features) - 1, count).long()]
        # one σ for all pixels: one that is background in every slice has none
        self.enclose(features, (features - features.mean(dim=0)).std().expand(features.shape[1]))

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) to (D, H, W), non-negative and zero outside the mask."""
        inside = mask.bool()
        features = self.features(x.movedim(1, 0), inside[:, None].float())
        return self.distance((features - self.mean) / self.std)[:, None, None] * inside

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pixels of slices: (N, C, H, W), (N, 1, H, W) to (N, F), not standardised."""
        return F.adaptive_avg_pool2d(x * mask, self.edge).flatten(1)


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
