"""Separable operations on a volume as one small matrix an axis: blur, slices, smooth fields.

Fast on one core.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def along(x: NDArray[np.float32], matrix: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Multiply one axis of (D, H, W) by a matrix (N, length): that axis becomes N long."""
    found: NDArray[np.float32]
    if axis == 0:
        found = (matrix @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])
    else:
        found = np.matmul(matrix, x) if axis == 1 else x @ matrix.T
    return found


@lru_cache(maxsize=256)
def _blur(length: int, sigma: float) -> NDArray[np.float32]:
    step = np.arange(length)
    weight = np.exp(-0.5 * ((step[:, None] - step) / sigma) ** 2)
    weight[weight < 1e-4] = 0
    found: NDArray[np.float32] = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def blur(x: NDArray[np.float32], sigma: float | Sequence[float]) -> NDArray[np.float32]:
    """Gaussian blur of (D, H, W), σ in voxels; the border keeps its mean."""
    each = (sigma,) * 3 if isinstance(sigma, float | int) else tuple(sigma)
    for axis, width in enumerate(each):
        if width > 0.15:
            x = along(x, _blur(x.shape[axis], round(float(width), 1)), axis)
    return x


def smooth(shape: Sequence[int], width: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gaussian noise of unit variance and a correlation length of ``width`` voxels, (D, H, W);
    drawn on a coarse grid.
    """
    width = max(1.0, round(float(width), 1))
    matrices = [_spread(length, width) for length in shape]
    x = rng.standard_normal([matrix.shape[1] for matrix in matrices], dtype=np.float32)
    for axis, matrix in enumerate(matrices):
        x = along(x, matrix, axis)
    return x


@lru_cache(maxsize=1024)
def _spread(length: int, width: float) -> NDArray[np.float32]:
    nodes = int(np.ceil(length / width)) + 3
    place = np.arange(length)[:, None] / width - np.arange(nodes) + 1
    weight = np.exp(-0.5 * (place / 0.6) ** 2)
    weight[weight < 1e-3] = 0
    found: NDArray[np.float32] = (weight / np.sqrt((weight**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return found


def thick(
    length: int, step: float, width: float, offset: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slices along an axis: what the scanner averages (N, length) and how its slices are
    interpolated back (length, N).

    Args:
        length: of the axis, in voxels.
        step: from slice to slice, in voxels.
        width: of a slice (full width at half maximum), in voxels.
        offset: of the first slice, in [0, 1) steps.
    """
    count = max(2, int(length / step) + 2)
    centres = (np.arange(count) - 0.5 + offset) * step
    place = np.arange(length)
    weight = np.exp(
        -0.5 * ((place - np.clip(centres, 0, length - 1)[:, None]) / max(width / 2.355, 0.3)) ** 2
    )
    down = weight / weight.sum(axis=1, keepdims=True)
    where = np.clip((place - centres[0]) / step, 0, count - 1 - 1e-6)
    low = np.floor(where).astype(int)
    up = np.zeros((length, count))
    up[place, low] = 1 - (where - low)
    up[place, low + 1] += where - low
    return down.astype(np.float32), up.astype(np.float32)
