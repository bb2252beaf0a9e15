"""A Gaussian at each location of the feature map."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aberra.densities.map_density import MapDensity, Maps
from aberra.options import Edge, Positive, Width, WidthOrNone, configured

if TYPE_CHECKING:
    from collections.abc import Mapping


class PaDiM(MapDensity):
    """The Mahalanobis distance of a location's features to those of healthy images at the same
    location: √((z − μᵢ)ᵀ Σᵢ⁻¹ (z − μᵢ)).

    Defard, Setkov, Loesch, Audigier 2021, *PaDiM: a Patch Distribution Modeling Framework for
    Anomaly Detection and Localization* (arXiv 2011.08785), eq. 1 and 2: μᵢ and Σᵢ + εI are mean and
    covariance (divisor N − 1) at location i, of d features that are drawn at random once. A
    location means the same anatomy in all images only where these are aligned.

    A rank r keeps the r directions in which location i varies most; across them variances are the
    mean of the others' (probabilistic principal components; Tipping, Bishop 1999), so that r = d is
    Σᵢ itself.

    L·(d·r + d + r + 1) + d + 2F + 1 numbers with L locations.

    Args:
        features: F.
        size: S'.
        chosen: d, at most F.
        rank: r, at most d; 0 is d.
        ridge: ε; features are standardised.

    Deviation: features are standardised, so that ε is relative to their variance in all locations.
    The rank is ours.

    Examples:
        >>> import torch
        >>> from aberra.densities.map_density import Maps
        >>> from aberra.densities.padim import PaDiM
        >>> z = torch.randn(400, 2, 1, 2, generator=torch.Generator().manual_seed(0))
        >>> z[..., 1] += 10  # what is usual at one location is unusual at the other
        >>> padim = PaDiM(features=2, size=(1, 2))
        >>> sorted(padim.fit(Maps(z[:300], lambda z: z), Maps(z[300:], lambda z: z), seed=0))
        ['validation']
        >>> usual, swapped = padim.energy(z[300:]).mean(), padim.energy(z[300:].flip(-1)).mean()
        >>> bool(swapped > 5 * usual)
        True
    """

    name = "padim"
    chosen: Tensor
    centre: Tensor
    directions: Tensor
    weights: Tensor
    rest: Tensor

    @configured("model.density")
    def __init__(
        self,
        *,
        features: Width,
        size: Sequence[Edge],
        chosen: Width = 100,
        rank: WidthOrNone = 0,
        ridge: Positive = 0.01,
    ) -> None:
        super().__init__(features, size)
        self.ridge = ridge
        count = min(chosen, features)
        kept = min(rank or count, count)
        places = prod(size)
        self.register_buffer("chosen", torch.arange(count))
        self.register_buffer("centre", torch.zeros(count, places))
        self.register_buffer("directions", torch.zeros(places, count, kept))
        self.register_buffer("weights", torch.zeros(places, kept))  # precision along them, less the rest's
        self.register_buffer("rest", torch.ones(places))  # precision in all other directions

    def standard_energy(self, z: Tensor) -> Tensor:
        """Distance of standardised maps, (B, F, S') to (B, S')."""
        apart = z[:, self.chosen].flatten(2) - self.centre
        along = torch.einsum("bdl,ldr->blr", apart, self.directions)
        squared = (along**2 * self.weights).sum(dim=2) + (apart**2).sum(dim=1) * self.rest
        return squared.clamp(min=0).sqrt().view(len(z), *self.size)

    def fit_standard(self, maps: Maps, validation: Maps, seed: int) -> Mapping[str, Any]:
        """Learn mean and covariance of each location; nothing is chosen by likelihood."""
        del validation
        drawn = torch.randperm(int(self.mean.numel()), generator=torch.Generator().manual_seed(seed))
        self.chosen.copy_(drawn[: len(self.chosen)].sort().values)
        own = maps.then(lambda z: z[:, self.chosen].flatten(2).double())
        mean = torch.zeros_like(self.centre, dtype=torch.float64)
        for part in own.parts():
            mean += part.sum(dim=0) / len(maps)
        count, kept = self.directions.shape[1:]
        covariance = self.directions.new_zeros((len(self.rest), count, count), dtype=torch.float64)
        for part in own.parts():
            apart = (part - mean).permute(2, 1, 0)
            covariance.baddbmm_(apart, apart.mT, alpha=1 / (len(maps) - 1))
        variances, directions = torch.linalg.eigh(covariance)  # ascending
        variances = variances.clamp(min=0) + self.ridge
        others = count - kept
        rest = 1 / variances[:, :others].mean(dim=1) if others else torch.zeros_like(variances[:, 0])
        self.centre.copy_(mean)
        self.directions.copy_(directions[:, :, others:])
        self.weights.copy_(1 / variances[:, others:] - rest[:, None])
        self.rest.copy_(rest)
        return {}
