"""Principal components of healthy scans in which every voxel has the same spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.models.pca import COLUMNS, PCA
from aberra.options import NotNegative, configured

if TYPE_CHECKING:
    from torch import Tensor


class StandardisedPCA(PCA):
    """Principal components of z-scores: each voxel over its spread σ among the healthy scans, so
    that a voxel counts by how unusual it is there, and not by how bright.

    V. Saase's entry of the MOOD challenge 2020 (Zimmerer et al. 2022, IEEE TMI 41): whole volumes
    on one grid, z = (x − μ) / σ, ẑ = VᵀV z, the map is the residual ``|z − ẑ|``, mean over
    channels.

    Args:
        floor: smallest σ, as a share of the mean σ of voxels that vary at all, so that what hardly
            varies (a corner that few brains reach) does not blow up; as of
            :class:`aberra.models.zmap.ZMap`.

    Raises:
        ConfigError: as of :class:`aberra.models.pca.PCA`.
        NotFittedError: as there.

    No weights; at 2 mm on MNI152's grid 1.1 million numbers a component. All else as
    :class:`aberra.models.pca.PCA`, whose components these are of x / σ.

    Examples:
        >>> import torch
        >>> from aberra.models.standardised_pca import StandardisedPCA
        >>> model = StandardisedPCA(channels=1, dims=3, size=(4, 4, 4), components=2)
        >>> x = torch.rand(5, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> model.fit_samples(x, torch.ones_like(x), seed=0)
        >>> model.score_pixels(x[:2]).shape
        torch.Size([2, 1, 4, 4, 4])
    """

    name = "standardised-pca"

    @configured("model", extends=PCA)
    def __init__(self, *, floor: NotNegative = 0.25, **options: Any) -> None:
        super().__init__(**options)
        self.floor = floor
        self.spread: Tensor
        self.register_buffer("spread", torch.ones_like(self.mean))

    def fit_samples(self, x: Tensor, mask: Tensor, seed: int) -> None:
        """Find the spread of each voxel of ``x`` (N, C, S), then the components of x / σ."""
        pieces = torch.split(x.flatten(1), COLUMNS, dim=1)
        spread = torch.cat([piece.double().std(dim=0, correction=0) for piece in pieces])
        varied = spread[spread > 0]
        typical = float(varied.mean()) if len(varied) else 1.0
        self.spread.copy_(spread.clamp(min=self.floor * typical + 1e-6))
        super().fit_samples(self._scaled(x), mask, seed)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S), in intensities."""
        return super().reconstruct(self._scaled(x)) * self._spread(x)

    def score_pixels(self, x: Tensor) -> Tensor:
        """The residual ``|z − ẑ|``, mean over channels, (B, C, S) to (B, 1, S)."""
        z = self._scaled(x.float())
        return (z - super().reconstruct(z)).abs().mean(dim=1, keepdim=True)

    def _scaled(self, x: Tensor) -> Tensor:
        return x / self._spread(x)

    def _spread(self, x: Tensor) -> Tensor:
        """σ in the shape of a sample, (C, S)."""
        return self.spread.view(x.shape[1:])
