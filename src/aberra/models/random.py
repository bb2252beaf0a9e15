"""Noise as score: a control."""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor, nn

from aberra.options import configured


class Random(nn.Module):
    """Independent uniform noise in every voxel, of its own for every foreground and blind to what
    is in it.

    Noise shared by all scans would make the case score a function of the brain's outline (which of
    the same few high values it holds), and one draw of it would decide the false-positive rates of
    all cohorts.

    Args:
        seed: of the noise, with the foreground.
    """

    name = "random"

    @configured("model")
    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) to (D, H, W), zero outside the mask."""
        own = crc32((mask > 0).cpu().contiguous().numpy().data, self.seed)
        # drawn on the CPU: a CUDA generator gives other numbers, and a control must not depend on
        # the device
        generator = torch.Generator().manual_seed(own)
        return torch.rand(x.shape[1:], generator=generator).to(x.device) * mask
