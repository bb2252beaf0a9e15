"""Voxel-wise z-score against the healthy mean on a common grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aberra.errors import MismatchError, NotFittedError
from aberra.options import Edge, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aberra.volume import Volume


class ZMap(nn.Module):
    """Mean and standard deviation of healthy intensities at every voxel of the prepared grid.

    The score is ``|x − μ|`` / σ, mean over channels. The mean-brain baseline that the field's
    surveys ask for.

    Args:
        channels: C.
        size: prepared grid (D, H, W), or (H, W) for images.
        floor: smallest σ, as a share of the mean σ inside the brain, so that voxels with hardly any
            variation (a corner that few brains reach) do not blow up.

    Raises:
        MismatchError: a volume on another grid.
        NotFittedError: asked before :meth:`fit`.
    """

    name = "zmap"

    @configured("model")
    def __init__(self, *, channels: Width, size: Sequence[Edge], floor: NotNegative = 0.25) -> None:
        super().__init__()
        self.floor = floor
        grid = (1,) * (3 - len(size)) + tuple(size)
        self.count: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("count", torch.zeros(grid))
        self.register_buffer("mean", torch.zeros((channels, *grid)))
        self.register_buffer("std", torch.ones((channels, *grid)))

    def fit(self, volumes: Iterable[Volume]) -> None:
        """Accumulate mean and variance in one pass (Welford), each voxel over the scans whose mask
        holds it.
        """
        count = torch.zeros_like(self.count, dtype=torch.float64)
        mean = torch.zeros_like(self.mean, dtype=torch.float64)
        squares = torch.zeros_like(mean)
        for volume in volumes:
            self._check(volume.shape)
            x = torch.tensor(volume.data, dtype=torch.float64)
            inside = torch.ones(volume.shape) if volume.mask is None else torch.tensor(volume.mask)
            count += inside
            step = (x - mean) * inside
            mean += step / count.clamp(min=1)
            squares += step * (x - mean)
        std = (squares / (count - 1).clamp(min=1)).sqrt()
        seen = count > 1
        typical = std[:, seen].mean() if seen.any() else torch.tensor(1.0)
        self.count = count.float()
        self.mean = mean.float()
        self.std = std.clamp(min=float(typical) * self.floor + 1e-6).float()

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) to (D, H, W), zero outside the mask and where fewer than two healthy
        brains reach.
        """
        self._check(tuple(x.shape[1:]))
        if not self.count.any():
            raise NotFittedError(self.name)
        z = ((x - self.mean) / self.std).abs().mean(dim=0)
        return z * mask * (self.count > 1)

    def _check(self, shape: tuple[int, ...]) -> None:
        if shape != tuple(self.count.shape):
            raise MismatchError(
                f"z-map: the prepared scan is {shape}, the healthy mean {tuple(self.count.shape)}; "
                'the recipe must end on a common grid (prepare.grid = "common")'
            )
