"""Where in the brain a place of a scan lies: side and tissue in MNI152."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.prepare.atlas_maps import NAMES, blurred
from aberra.prepare.register import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.volume import Volume

MIDDLE_MM = 5.0
"""Distance from the mid-sagittal plane up to which a place is on neither side."""

TISSUES = {"csf": "fluid", "gm": "grey matter", "wm": "white matter"}


def places_of(volume: Volume, points: Sequence[Sequence[float]]) -> tuple[list[str], str]:
    """Name places by side and by the tissue that most brains have there.

    No finer names: of lobes and structures there is no map that may be shipped.

    Args:
        volume: the stripped scan.
        points: (x, y, z) in mm, RAS+ of the scan.

    Returns:
        As in ``left white matter``, one a point, and why there are none (then all are empty); that
        is empty where the registration is to be trusted.
    """
    to_scan, _, why = locate(volume)
    if why:
        return [""] * len(points), why
    maps, affine = blurred()
    to_atlas = np.linalg.inv(to_scan)
    names = []
    for point in points:
        place = to_atlas @ [*point, 1.0]
        side = "midline" if abs(place[0]) <= MIDDLE_MM else "right" if place[0] > 0 else "left"
        index = np.rint((np.linalg.inv(affine) @ place)[:3]).astype(int)
        within = ((index >= 0) & (index < maps.shape[1:])).all()
        shares = maps[:, *index] if within else np.zeros(len(NAMES))
        names.append(
            f"{side} {TISSUES[NAMES[int(shares.argmax())]]}" if shares.any() else "outside the brain"
        )
    return names, ""
