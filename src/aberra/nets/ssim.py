"""Structural similarity as a map, in 2-D and 3-D (Wang, Bovik, Sheikh, Simoncelli 2004)."""

from __future__ import annotations

from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
"""Wang et al. 2004: Gaussian window of 11 pixels with σ = 1.5, and the constants that keep the
quotient finite."""


def ssim_map(x: Tensor, y: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Local SSIM = (2μ_xμ_y + c₁)(2σ_xy + c₂) / ((μ_x² + μ_y² + c₁)(σ_x² + σ_y² + c₂)), cᵢ =
    (Kᵢ·range)².

    Means, variances and the covariance are Gaussian-weighted (population) moments of the window
    around each pixel, channel by channel. Differentiable.

    Args:
        x: shape (B, C, S), S of two or three axes.
        y: same shape.
        data_range: span of the intensities; a constant of the method, not of the image.

    Returns:
        Shape (B, C, S), in [−1, 1].

    Deviation: borders are padded with their own values, so the map is as large as the image.
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = (_windowed(x * x) - mean_x**2).clamp(min=0)
    variance_y = (_windowed(y * y) - mean_y**2).clamp(min=0)
    covariance = _windowed(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return above / below


def _windowed(x: Tensor) -> Tensor:
    """Gaussian-weighted mean of the window around each pixel, axis by axis."""
    half = WINDOW // 2
    weights = torch.tensor([exp(-0.5 * (step / SIGMA) ** 2) for step in range(-half, half + 1)]).to(x)
    weights = weights / weights.sum()
    axes = x.ndim - 2
    flat = x.flatten(0, 1).unsqueeze(1)
    flat = F.pad(flat, (half,) * (2 * axes), mode="replicate")
    convolve = F.conv2d if axes == 2 else F.conv3d
    for axis in range(axes):
        shape = [WINDOW if other == axis else 1 for other in range(axes)]
        flat = convolve(flat, weights.reshape(1, 1, *shape))
    return flat.reshape(x.shape)
