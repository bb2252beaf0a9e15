"""The same score everywhere: a control."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Constant(nn.Module):
    """Scores every voxel 1; its AP is the prevalence."""

    name = "constant"

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) to (D, H, W), zero outside the mask."""
        return torch.ones_like(x[0]) * mask
