"""Where a lesion is: soft shapes in [0, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from aberra.synthesis.fields import smooth_noise
from aberra.synthesis.parameters import EDGE_MM

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
    local = tuple(2 * each + 1 for each in half)
    points = np.stack(
        np.meshgrid(
            *[(np.arange(-each, each + 1) * step) for each, step in zip(half, spacing, strict=True)],
            indexing="ij",
        )
    ).astype(np.float32)
    rng = np.random.default_rng([parameters.seed, 3])
    if parameters.shape == "mask":
        depth = _from_file(parameters, points, rng)
    else:
        kind = {"ellipsoid": _ellipsoid, "blob": _blob, "tube": _tube, "box": _box, "cube": _box}[
            parameters.shape
        ]
        depth = kind(parameters, points, tuple(float(step) for step in spacing), rng)
    if parameters.edge_mm:
        small = 1 / (1 + np.exp(np.clip(depth / (0.5 * parameters.edge_mm), -30, 30)))
        small[small < 0.02] = 0
    else:
        small = (depth <= 0).astype(np.float32)
    out = np.zeros(shape, dtype=np.float32)
    source, target = [], []
    for centre, each, length, size in zip(parameters.centre, half, shape, local, strict=True):
        low, high = max(0, centre - each), min(length, centre + each + 1)
        target.append(slice(low, high))
        source.append(slice(low - centre + each, size - (centre + each + 1 - high)))
    out[tuple(target)] = small[tuple(source)]
    return out


def _ellipsoid(
    parameters: LesionParameters,
    points: NDArray[np.float32],
    spacing: tuple[float, ...],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Signed distance (about) to a rotated ellipsoid, mm, negative inside."""
    del spacing
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
    axes = np.array(parameters.stretch, dtype=np.float32) * parameters.radius_mm
    turned = np.tensordot(turn, points, axes=1) / axes.reshape(3, 1, 1, 1)
    found: NDArray[np.float32] = (np.sqrt((turned**2).sum(axis=0)) - 1) * parameters.radius_mm
    return found


def _box(
    parameters: LesionParameters,
    points: NDArray[np.float32],
    spacing: tuple[float, ...],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Distance to the nearest face of a box along the axes, mm, negative inside."""
    del spacing, rng
    halves = np.array(parameters.stretch, dtype=np.float32) * parameters.radius_mm
    found: NDArray[np.float32] = (np.abs(points) - halves.reshape(3, 1, 1, 1)).max(axis=0)
    return found


def _blob(
    parameters: LesionParameters,
    points: NDArray[np.float32],
    spacing: tuple[float, ...],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """An ellipsoid whose border wanders by a smooth random field."""
    shape = points.shape[1:]
    wobble = smooth_noise(shape, spacing, max(parameters.radius_mm, 2.0), rng)
    return _ellipsoid(parameters, points, spacing, rng) + 0.35 * parameters.radius_mm * wobble


def _tube(
    parameters: LesionParameters,
    points: NDArray[np.float32],
    spacing: tuple[float, ...],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """A bent tube: distance to a random walk through the centre."""
    del spacing
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
    """A real lesion's shape, scaled to the drawn radius: signed distance from its mask."""
    from scipy.ndimage import distance_transform_edt, label, map_coordinates

    from aberra.volume import Volume

    volume = Volume.read(Path(parameters.mask_file))
    labels, count = label(volume.data[0] > 0)
    if not count:
        return np.full(points.shape[1:], 99, dtype=np.float32)
    sizes = np.bincount(labels.ravel())[1:]
    region = labels == 1 + int(rng.choice(count, p=sizes / sizes.sum()))
    where = np.argwhere(region)
    box = tuple(
        slice(max(0, low - 3), high + 4)
        for low, high in zip(where.min(axis=0), where.max(axis=0), strict=True)
    )
    inside = region[box]
    signed = distance_transform_edt(~inside, sampling=volume.spacing) - distance_transform_edt(
        inside, sampling=volume.spacing
    )
    radius = (3 * len(where) * volume.voxel_mm3 / (4 * np.pi)) ** (1 / 3)
    scale = radius / parameters.radius_mm
    centre = np.argwhere(inside).mean(axis=0)
    index = [
        part * scale / step + middle
        for part, step, middle in zip(points, volume.spacing, centre, strict=True)
    ]
    smooth = gaussian_filter(signed.astype(np.float32), 0.5)
    found: NDArray[np.float32] = (
        map_coordinates(smooth, np.stack(index), order=1, mode="constant", cval=99.0) / scale
    )
    return found
