"""Smooth random fields and deformations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SQUARINGS = 5
"""Scaling and squaring: the field is divided by 2⁵, then composed with itself five times."""


def smooth_noise(
    shape: Sequence[int], spacing: Sequence[float], width_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian noise of unit variance with a correlation length in mm, shape ``shape``.

    It is drawn on a coarse grid and upsampled, so the cost does not grow with the width.
    """
    steps = [max(1.0, width_mm / step) for step in spacing]
    coarse = [int(np.ceil(length / step)) + 4 for length, step in zip(shape, steps, strict=True)]
    field = rng.standard_normal(coarse).astype(np.float32)
    grid = [
        np.linspace(1.5, 1.5 + (length - 1) / step, length, dtype=np.float32)
        for length, step in zip(shape, steps, strict=True)
    ]
    field = gaussian_filter(field, [0.5 if step > 1 else 0.0 for step in steps])
    for axis, points in enumerate(grid):
        field = _along(field, points, axis)
    found: NDArray[np.float32] = field / max(float(field.std()), 1e-6)
    return found


def _along(field: NDArray[np.float32], points: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Linear interpolation along one axis."""
    low = np.clip(np.floor(points).astype(int), 0, field.shape[axis] - 2)
    weight = (points - low).reshape([-1 if other == axis else 1 for other in range(field.ndim)])
    between: NDArray[np.float32] = field.take(low, axis) * (1 - weight) + field.take(low + 1, axis) * weight
    return between


def diffeomorphism(
    shape: Sequence[int],
    spacing_mm: float,
    width_mm: float,
    amplitude_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Displacement in mm of a smooth invertible deformation, shape (3, D, H, W), by scaling and
    squaring.

    Arsigny et al. 2006: the exponential of a stationary velocity field is a diffeomorphism.

    Args:
        shape: grid.
        spacing_mm: its isotropic voxel size.
        width_mm: correlation length of the velocity.
        amplitude_mm: standard deviation of the velocity.
        rng: source of randomness.
    """
    spacing = (spacing_mm,) * 3
    velocity = np.stack([smooth_noise(shape, spacing, width_mm, rng) for _ in range(3)]) * amplitude_mm
    field: NDArray[np.float32] = (
        gaussian_filter(velocity, (0, *([0.4 * width_mm / spacing_mm] * 3))) / 2**SQUARINGS
    )
    index = np.indices(shape, dtype=np.float32)
    for _ in range(SQUARINGS):
        where = index + field / spacing_mm
        field = field + np.stack([map_coordinates(part, where, order=1, mode="nearest") for part in field])
    return field


def rotation(angles: Iterable[float]) -> NDArray[np.float64]:
    """Rotation matrix of three angles in radians, one about each axis."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn
