"""Where an anomaly is: weights in [0, 1] on the scan's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.synthesis.parameters import EDGE_MM, LesionParameters
from aberra.synthesis.shapes import soft_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.mood.anomaly import Anomaly
    from aberra.mood.scan import Scan

FACES = (8, 14)
"""Fewest and most faces of a polyhedron."""

FACE = (0.5, 0.85)
"""Distance of a face from the centre, share of the radius."""

SPOTS = (3, 7)
"""Fewest and most lesions of a cluster."""

SPOT = (0.18, 0.35)
"""Radius of a cluster's lesion, share of the cluster's."""


def weights(scan: Scan, anomaly: Anomaly, *, share: float = 1.0) -> NDArray[np.float32]:
    """Weight of the anomaly in each voxel, shape (D, H, W): 1 inside, 0.5 at the border, a soft edge
    of a millimetre.

    Args:
        scan: the scan.
        anomaly: whose shape.
        share: of its radius.
    """
    radius = share * anomaly.radius_mm
    if anomaly.kind.shape in OWN:
        depth = OWN[anomaly.kind.shape](scan.offsets(anomaly.centre), radius, anomaly.seed)
        found: NDArray[np.float32] = 1 / (1 + np.exp(np.clip(depth / (0.5 * EDGE_MM), -30, 30)))
        return found
    parameters = LesionParameters(
        shape=anomaly.kind.shape,
        source="hyper",
        blend="alpha",
        label="binary",
        centre=anomaly.centre,
        radius_mm=radius,
        stretch=anomaly.stretch,
        strength=0.0,
        offset=(0, 0, 0),
        seed=anomaly.seed,
        mask_file=anomaly.file,
    )
    return soft_shape(parameters, scan.volume.shape, scan.volume.affine)


def _sphere(points: NDArray[np.float32], radius: float, _: int) -> NDArray[np.float32]:
    """Signed distance in mm from a sphere at the origin, negative inside."""
    found: NDArray[np.float32] = np.sqrt((points**2).sum(axis=0)) - np.float32(radius)
    return found


def _polyhedron(points: NDArray[np.float32], radius: float, seed: int) -> NDArray[np.float32]:
    """Distance from the nearest face of the intersection of a ball and random half spaces."""
    rng = np.random.default_rng([seed, 11])
    depth = _sphere(points, radius, 0)
    for _ in range(int(rng.integers(FACES[0], FACES[1] + 1))):
        normal = rng.standard_normal(3)
        normal = (normal / np.linalg.norm(normal)).astype(np.float32)
        away = np.float32(rng.uniform(*FACE) * radius)
        depth = np.maximum(depth, np.tensordot(normal, points, axes=1) - away)
    return depth


def _cluster(points: NDArray[np.float32], radius: float, seed: int) -> NDArray[np.float32]:
    """Distance from the nearest of several balls inside the radius."""
    rng = np.random.default_rng([seed, 12])
    depth = np.full(points.shape[1:], np.inf, dtype=np.float32)
    for _ in range(int(rng.integers(SPOTS[0], SPOTS[1] + 1))):
        size = rng.uniform(*SPOT) * radius
        place = rng.standard_normal(3)
        place *= rng.uniform(0.2, 1.0) * (radius - size) / np.linalg.norm(place)
        there = points - place.astype(np.float32).reshape(3, 1, 1, 1)
        depth = np.minimum(depth, _sphere(there, size, 0))
    return depth


OWN = {"sphere": _sphere, "polyhedron": _polyhedron, "cluster": _cluster}
"""Shapes that :mod:`aberra.synthesis.shapes` has not, or not as large as a head."""
