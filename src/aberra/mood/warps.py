"""What is done to the place of tissue: it is drawn to a point, pushed away, to one side, or turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aberra.mood.anomaly import Anomaly
    from aberra.mood.scan import Scan

    Points = NDArray[np.float32]


def bump(scan: Scan, anomaly: Anomaly) -> NDArray[np.float32]:
    """Weight of a deformation, (1 − (r/R)²)², shape (D, H, W): 1 at the centre, 0 from the radius
    on.
    """
    share = (scan.offsets(anomaly.centre) ** 2).sum(axis=0) / np.float32(anomaly.radius_mm**2)
    found: NDArray[np.float32] = np.maximum(1 - share, 0) ** 2
    return found


def warped(
    scan: Scan, anomaly: Anomaly, weight: NDArray[np.float32], region: NDArray[np.bool]
) -> NDArray[np.float32]:
    """The scan's intensities after a deformation, shape (D, H, W), in the region alone.

    No tissue is folded over: distances from the centre stay in order for amounts up to 1.2 (sink)
    and 0.9 (source), positions for a push of up to 0.6 radii (bend).

    Args:
        scan: the scan.
        anomaly: the deformation; its amount is a share of the distance (sink, source) or of the
            radius (bend), or an angle (twist).
        weight: of the deformation, from :func:`bump`.
        region: voxels to compute.
    """
    away = scan.offsets(anomaly.centre)[:, region]
    direction = np.array(anomaly.direction, dtype=np.float32)[:, None]
    come_from = WARPS[anomaly.kind.operation](away, weight[region], anomaly, direction)
    spacing = np.array(scan.volume.spacing, dtype=np.float32)[:, None]
    where = come_from / spacing + np.array(anomaly.centre, dtype=np.float32)[:, None]
    after = scan.data.copy()
    after[region] = map_coordinates(scan.data, where, order=1, mode="nearest")
    return after


def _sink(away: Points, weight: Points, anomaly: Anomaly, _: Points) -> Points:
    return away * (1 + np.float32(anomaly.amount) * weight)


def _source(away: Points, weight: Points, anomaly: Anomaly, _: Points) -> Points:
    return away * (1 - np.float32(anomaly.amount) * weight)


def _bend(away: Points, weight: Points, anomaly: Anomaly, direction: Points) -> Points:
    return away - np.float32(anomaly.amount * anomaly.radius_mm) * weight * direction


def _twist(away: Points, weight: Points, anomaly: Anomaly, direction: Points) -> Points:
    """Rodrigues' rotation by an angle that falls off with the weight."""
    angle = np.float32(anomaly.amount) * weight
    along = (direction * away).sum(axis=0) * direction
    across = np.cross(direction, away, axis=0)
    found: Points = along + np.cos(angle) * (away - along) + np.sin(angle) * across
    return found


WARPS: dict[str, Callable[[Points, Points, Anomaly, Points], Points]] = {
    "sink": _sink,
    "source": _source,
    "bend": _bend,
    "twist": _twist,
}
"""Deformations: from offsets (3, N) of voxels to the offsets that their tissue comes from."""
