"""Edges of an image, differentiable: what Canny's detector finds, without its yes or no."""

from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 3.0
"""The Gaussian is cut off after so many σ."""
LEAST = 1e-6
"""Slope below which there is no direction to look along."""


def soft_canny(x: Tensor, *, sigma: float, threshold: float) -> Tensor:
    """How much each pixel is an edge, in [0, 1): (B, C, S) to the same shape, channel by channel.

    The stages of Canny 1986 (IEEE TPAMI 8(6)): a Gaussian; the slope m = ``|∇x|`` by central
    differences; 0 where a neighbour along the slope is steeper (non-maximum suppression, which has
    no gradient and is taken as it stands); and instead of two thresholds and the tracing of weak
    edges m² / (m² + t²), which is ½ at the threshold t and has a gradient everywhere.

    Args:
        x: images; borders go on beyond the image.
        sigma: σ of the Gaussian in pixels; 0 is none.
        threshold: t, change of intensity from a pixel to the next.
    """
    spatial = range(2, x.ndim)
    for axis in spatial:
        x = _along(x, _gaussian(sigma).to(x), axis)
    difference = torch.tensor([-0.5, 0.0, 0.5], device=x.device, dtype=x.dtype)
    slopes = torch.stack([_along(x, difference, axis) for axis in spatial], dim=-1)  # (B, C, S, axes)
    squared = slopes.square().sum(dim=-1)
    return _crests(slopes.detach()) * squared / (squared + threshold**2)


def _crests(slopes: Tensor) -> Tensor:
    """1 where no neighbour along the slope is steeper, else 0: (B, C, S, axes) to (B, C, S)."""
    steep = slopes.norm(dim=-1)
    size = steep.shape[2:]
    direction = (slopes / steep.clamp(min=LEAST)[..., None]).flatten(0, 1)
    flat = steep.flatten(0, 1)[:, None]
    axes = [torch.linspace(-1, 1, edge, device=steep.device, dtype=steep.dtype) for edge in size]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    step = torch.tensor([2 / max(edge - 1, 1) for edge in size], device=steep.device, dtype=steep.dtype)
    kept = torch.ones_like(flat, dtype=torch.bool)
    for sign in (-1, 1):
        there = (places + sign * direction * step).flip(-1)  # grid_sample counts the last axis first
        neighbour = F.grid_sample(flat, there, mode="bilinear", padding_mode="border", align_corners=True)
        kept &= flat >= neighbour * (1 - 1e-4)  # both sides of a step are equally steep, but for rounding
    return kept.to(steep).reshape(steep.shape)


def _along(x: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Correlate (B, C, S) with a kernel of odd length along one axis; the border goes on."""
    half = len(kernel) // 2
    if not half:
        return x
    moved = x.movedim(axis, -1)
    flat = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (half, half), mode="replicate")
    found = F.conv1d(flat, kernel.view(1, 1, -1)).reshape(moved.shape)
    return found.movedim(-1, axis)


def _gaussian(sigma: float) -> Tensor:
    """Weights of a Gaussian on whole pixels, which add up to 1."""
    half = ceil(REACH * sigma)
    if not half:
        return torch.ones(1)
    weights = torch.exp(-0.5 * (torch.arange(-half, half + 1) / sigma) ** 2)
    return weights / weights.sum()
