"""Noise as score: a control."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Random(nn.Module):
    """Independent uniform noise in every voxel, the same for every scan of the same grid.

    Args:
        seed: of the noise.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) to (D, H, W), zero outside the mask."""
        # drawn on the CPU: a CUDA generator gives other numbers, and a control must not depend on the device
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(x.shape[1:], generator=generator).to(x.device) * mask
