"""Gaussian smoothing of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def smoothed(values: Tensor, mask: Tensor, *, sigma: float, dims: int) -> Tensor:
    """Smooth a map with a Gaussian and zero it outside the mask.

    Args:
        values: shape (D, H, W).
        mask: foreground, same shape.
        sigma: σ in prepared pixels within the slice (``dims`` 2) or voxels (3); 0 is off.
        dims: of the network.
    """
    values = values * mask
    if not sigma:
        return values
    from scipy.ndimage import gaussian_filter

    widths = (0.0, sigma, sigma) if dims == 2 else (sigma,) * 3
    return torch.from_numpy(gaussian_filter(values.numpy(), widths)) * mask
