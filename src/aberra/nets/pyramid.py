"""Gaussian and Laplacian pyramids (Burt & Adelson 1983).

Pixel i of level k lies on pixel 2ᵏ·i of the image.

Every edge is even at all levels but the last; edges are mirrored.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The 5-tap binomial approximation of a Gaussian of σ = 1."""


def reduce(x: Tensor) -> Tensor:
    """↓2(g ∗ I): (B, C, S) to (B, C, S / 2)."""
    return _filtered(x, stride=2)


def expand(x: Tensor) -> Tensor:
    """↑2(I): zeros between the pixels, then 2ⁿ·g: (B, C, S) to (B, C, 2 S).

    A constant stays what it is.
    """
    dims = x.ndim - 2
    spread = x.new_zeros((*x.shape[:2], *(2 * edge for edge in x.shape[2:])))
    spread[(slice(None), slice(None), *(slice(None, None, 2),) * dims)] = x
    smooth: Tensor = _filtered(spread, stride=1) * float(2**dims)
    return smooth


def gaussian_pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """I_0 = x, I_{k+1} = ↓2(g ∗ I_k): ``levels`` + 1 images, finest first."""
    images = [x]
    for _ in range(levels):
        images.append(reduce(images[-1]))
    return images


def bands(images: Sequence[Tensor]) -> list[Tensor]:
    """H_k = I_k − ↑2(I_{k+1}) of a Gaussian pyramid, and I_K as the last."""
    return [fine - expand(coarse) for fine, coarse in pairwise(images)] + [images[-1]]


def collapse(parts: Sequence[Tensor]) -> list[Tensor]:
    """I_K, I_k = ↑2(I_{k+1}) + H_k: the inverse of :func:`bands`, finest first."""
    images = [parts[-1]]
    for band in reversed(parts[:-1]):
        images.append(expand(images[-1]) + band)
    return images[::-1]


def _filtered(x: Tensor, *, stride: int) -> Tensor:
    """Filter every channel with the Gaussian and keep each ``stride``-th pixel."""
    dims = x.ndim - 2
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    kernel = taps
    for _ in range(dims - 1):
        kernel = kernel.unsqueeze(-1) * taps
    planes = F.pad(x.flatten(0, 1).unsqueeze(1), (2,) * (2 * dims), mode="reflect")
    convolve = F.conv2d if dims == 2 else F.conv3d
    found = convolve(planes, kernel[None, None], stride=stride)
    return found.reshape(*x.shape[:2], *found.shape[2:])
