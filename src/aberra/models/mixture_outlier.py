"""Mixture of tissues with outliers, fitted by EM to the scan itself (Van Leemput et al. 2001, IEEE
TMI 20(8)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Annotated

import torch
from torch import Tensor, nn

from aberra.models.tissue import SLAB, check_on_atlas, checked_grid, evenly, least_squares, on_grid
from aberra.options import AtlasVoxel, Count, Positive, Within, configured

PASSES, STEPS = 4, 10
"""Passes, each with its outlier densities, and EM steps in a pass."""

NARROWEST = 0.01
"""Smallest σ of log intensity."""


@dataclass
class Mixture:
    """Parameters of log intensity: class means μ (K,), standard deviations σ (K,), bias
    coefficients β (F,).
    """

    mean: Tensor
    std: Tensor
    bias: Tensor


class MixtureOutlier(nn.Module):
    """White matter, grey matter and fluid as Gaussians of log intensity over a bias field, each
    voxel with the atlas as prior.

    ``p(y) = Σ_k π_k(x) [N(y − b(x); μ_k, σ_k) + λ_k]``: λ_k is the density of outliers,
    ``exp(−κ²/2) / (√(2π) σ_k)``, so that a voxel κ standard deviations away belongs to its tissue
    with probability ½. Typicality ``t_k = N / (N + λ_k)`` keeps lesions out of the parameters.
    Expected is the posterior's mean tissue: an outlier, which has no tissue of its own, gets its
    prior's.

    Args:
        channels: C; each channel is a mixture of its own.
        size: prepared grid (D, H, W), the atlas'.
        spacing: voxel size of that grid in mm; the same as ``prepare.spacing``.
        kappa: κ, the Mahalanobis distance of even odds.
        order: of the bias field's polynomial.

    Raises:
        ConfigError: a grid that is not the atlas' at that voxel size.
        MismatchError: a scan that is not on the atlas' grid.

    Deviation: no Markov random field over neighbours; channels are not modelled jointly; no rule
    about intensities of lesions relative to grey matter (the score's sign has that place); κ = 3 is
    our choice.
    """

    name = "mixture-outlier"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Count,
        size: Sequence[int],
        spacing: AtlasVoxel = 1.0,
        kappa: Positive = 3.0,
        order: Annotated[int, Within(0, 8)] = 3,
    ) -> None:
        super().__init__()
        self.spacing = checked_grid(size, spacing)
        self.channels = channels
        self.kappa = kappa
        self.order = order

    def expect(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Expected intensity and spread of (C, D, H, W) inside a mask (D, H, W); 0 and 1 outside."""
        check_on_atlas(tuple(mask.shape), self.spacing)
        mean, spread = torch.zeros_like(x), torch.ones_like(x)
        inside = mask.bool().flatten()
        for channel, expected, width in zip(x.flatten(1), mean.flatten(1), spread.flatten(1), strict=True):
            place = (inside & (channel > 0)).nonzero()[:, 0]  # what is 0 has no logarithm
            if len(place) < 100:
                continue
            sample = place[evenly(len(place))]
            found, _ = fit(
                channel[sample].double().log(),
                self._prior(sample).double(),
                polynomial(sample, mask.shape, self.order).double(),
                self.kappa,
            )
            for part in torch.split(place, SLAB):
                f = polynomial(part, mask.shape, self.order).double()
                y = channel[part].double().log()
                centre, std = expected_of(y - f @ found.bias, self._prior(part).double(), found, self.kappa)
                level = (centre + f @ found.bias).exp()
                expected[part], width[part] = level.float(), (level * std).float()
        return mean, spread

    def _prior(self, place: Tensor) -> Tensor:
        """π at flat indices, (N, 3); nowhere quite 0, since registration is not exact."""
        prior = on_grid(self.spacing).to(place.device).flatten(1)[:, place].T
        prior = prior.clamp(min=0.01)
        return prior / prior.sum(dim=1, keepdim=True)


def fit(y: Tensor, prior: Tensor, f: Tensor, kappa: float) -> tuple[Mixture, list[list[float]]]:
    """Fit by EM, conditional maximisation of (μ, σ), then of β.

    Args:
        y: log intensities, shape (N,), float64.
        prior: π, shape (N, K).
        f: features of the bias field, shape (N, F); the first is constant and stays out of it.
        kappa: κ.

    Returns:
        Parameters, and the mean log likelihood after each step, a list a pass: outlier densities
        change between passes only, so that it never falls within one.
    """
    weight = prior**2  # where the atlas is sure
    mean = (weight * y[:, None]).sum(dim=0) / weight.sum(dim=0)
    std = ((weight * (y[:, None] - mean) ** 2).sum(dim=0) / weight.sum(dim=0)).sqrt().clamp(min=NARROWEST)
    found, history = Mixture(mean, std, y.new_zeros(f.shape[1])), []
    for _ in range(PASSES):
        outlier = density_of_outliers(found.std, kappa)
        likelihood = [log_likelihood(y - f @ found.bias, prior, found, outlier)]
        for _ in range(STEPS):
            found = _step(y, prior, f, found, outlier)
            likelihood.append(log_likelihood(y - f @ found.bias, prior, found, outlier))
        history.append(likelihood)
    return found, history


def _step(y: Tensor, prior: Tensor, f: Tensor, found: Mixture, outlier: Tensor) -> Mixture:
    """One EM step."""
    flat = y - f @ found.bias
    share = prior * normal(flat, found)
    share = share / (share + prior * outlier).sum(dim=1, keepdim=True)  # posterior × typicality, (N, K)
    total = share.sum(dim=0) + 1e-9
    mean = (share * flat[:, None]).sum(dim=0) / total
    std = ((share * (flat[:, None] - mean) ** 2).sum(dim=0) / total).sqrt().clamp(min=NARROWEST)
    precision = share / std**2
    weight = precision.sum(dim=1)
    level = (precision * mean).sum(dim=1) / weight.clamp(min=1e-12)
    beta = found.bias.clone()
    if f.shape[1] > 1:
        beta[1:] = least_squares(f[:, 1:], y - level, weight)
    return Mixture(mean, std, beta)


def expected_of(flat: Tensor, prior: Tensor, found: Mixture, kappa: float) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation of tissue (N,) for log intensities without their bias."""
    share = prior * (normal(flat, found) + density_of_outliers(found.std, kappa))
    share = share / share.sum(dim=1, keepdim=True)
    return share @ found.mean, (share @ found.std**2).sqrt()


def normal(flat: Tensor, found: Mixture) -> Tensor:
    """Densities of (N,) in each class, (N, K)."""
    z = (flat[:, None] - found.mean) / found.std
    return (-0.5 * z**2).exp() / (sqrt(2 * pi) * found.std)


def density_of_outliers(std: Tensor, kappa: float) -> Tensor:
    """λ_k, (K,)."""
    return torch.exp(torch.as_tensor(-0.5 * kappa**2)) / (sqrt(2 * pi) * std)


def log_likelihood(flat: Tensor, prior: Tensor, found: Mixture, outlier: Tensor) -> float:
    """Mean of log p(y)."""
    return float((prior * (normal(flat, found) + outlier)).sum(dim=1).log().mean())


def polynomial(place: Tensor, shape: Sequence[int], order: int) -> Tensor:
    """All products of z, y, x up to an order at flat indices of the grid, (N, F); 1 comes first."""
    d, h, w = torch.unravel_index(place, tuple(shape))
    z, y, x = (2 * index.float() / (length - 1) - 1 for index, length in zip((d, h, w), shape, strict=True))
    powers = [
        (i, j, k)
        for total in range(order + 1)
        for i in range(total + 1)
        for j in range(total - i + 1)
        for k in (total - i - j,)
    ]
    return torch.stack([z**i * y**j * x**k for i, j, k in powers], dim=1)
