"""Where a lesion is: soft shapes in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.prepare.grid import window
from aberra.synthesis.fields import smooth_noise
from aberra.synthesis.masks import BEYOND_MM, real_shapes
from aberra.synthesis.parameters import BOXES, EDGE_MM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.synthesis.parameters import LesionParameters


def soft_shape(
    parameters: LesionParameters, shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Membership of every voxel, shape (D, H, W), in [0, 1]; 0.5 at the border."""
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    reach = 2.5 * parameters.radius_mm + 3 * max(parameters.edge_mm, EDGE_MM)
    half = [
        int(np.ceil(reach / step)) if length > 1 else 0 for step, length in zip(spacing, shape, strict=True)
    ]
    axes = [np.arange(-each, each + 1) * step for each, step in zip(half, spacing, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    rng = np.random.default_rng([parameters.seed, 3])
    if parameters.shape == "mask":
        depth = _from_file(parameters, points, rng)
    elif parameters.shape == "tube":
        depth = _tube(parameters, points, rng)
    elif parameters.shape in BOXES:  # the nearest face of a box along the axes
        halves = np.array(parameters.stretch, dtype=np.float32) * parameters.radius_mm
        depth = (np.abs(points) - halves.reshape(3, 1, 1, 1)).max(axis=0)
    else:
        wobble: Any = 0
        if parameters.shape == "blob":  # its border wanders by a smooth random field
            steps = tuple(float(step) for step in spacing)
            wobble = smooth_noise(points.shape[1:], steps, max(parameters.radius_mm, 2.0), rng)
        depth = _ellipsoid(parameters, points, rng) + 0.35 * parameters.radius_mm * wobble
    if parameters.edge_mm:
        small = 1 / (1 + np.exp(np.clip(depth / (0.5 * parameters.edge_mm), -30, 30)))
        small[small < 0.02] = 0
    else:
        small = depth <= 0
    low = [each - centre for each, centre in zip(half, parameters.centre, strict=True)]
    return window(small.astype(np.float32), low, shape)


def _ellipsoid(
    parameters: LesionParameters, points: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Signed distance (about) to a rotated ellipsoid, mm, negative inside."""
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
    axes = np.array(parameters.stretch, dtype=np.float32) * parameters.radius_mm
    turned = np.tensordot(turn, points, axes=1) / axes.reshape(3, 1, 1, 1)
    found: NDArray[np.float32] = (np.sqrt((turned**2).sum(axis=0)) - 1) * parameters.radius_mm
    return found


def _tube(
    parameters: LesionParameters, points: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A bent tube: distance to a random walk through the centre."""
    steps = 12
    flat = np.array([length > 1 for length in points.shape[1:]], dtype=np.float32)
    direction = rng.standard_normal(3) * flat
    places = [np.zeros(3)]
    length = 3.2 * parameters.radius_mm / steps
    for _ in range(steps):
        direction = _unit(direction) + 0.45 * rng.standard_normal(3) * flat
        places.append(places[-1] + length * _unit(direction))
    line = np.array(places) - np.mean(places, axis=0)
    nearest = np.full(points.shape[1:], np.inf, dtype=np.float32)
    for place in line.astype(np.float32):
        nearest = np.minimum(nearest, np.sqrt(((points - place.reshape(3, 1, 1, 1)) ** 2).sum(axis=0)))
    return nearest - max(0.35 * parameters.radius_mm, 0.6)


def _unit(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return direction / max(float(np.linalg.norm(direction)), 1e-6)


def _from_file(
    parameters: LesionParameters, points: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A real lesion's shape, large ones more often, scaled to the drawn radius: signed distance from
    its mask.
    """
    shapes = real_shapes(parameters.mask_file)
    if not shapes:
        return np.full(points.shape[1:], BEYOND_MM, dtype=np.float32)
    sizes = np.array([each.voxels for each in shapes])
    chosen = shapes[int(rng.choice(len(shapes), p=sizes / sizes.sum()))]
    return chosen.distance(points, parameters.radius_mm)
