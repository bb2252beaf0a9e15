"""Real lesions as shapes: the connected parts of masks that raters drew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, map_coordinates

from aberra.foreground import box_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEYOND_MM = 99.0
"""Distance where a shape is not known any more: far outside."""

FRAME = 3
"""Voxels kept around a shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RealShape:
    """One lesion of a mask.

    Attributes:
        signed: distance from its border, mm, negative inside; shape (D, H, W), axes as in the file.
        spacing: of these voxels, mm.
        centre: of mass, in voxels.
        voxels: how many it has.
        radius: of a ball of its volume, mm.
        reach: from the centre to its farthest voxel, mm.
    """

    signed: NDArray[np.float32]
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float]
    voxels: int
    radius: float
    reach: float

    def distance(self, points: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
        """Signed distance in mm from the border of the shape scaled to a radius.

        Args:
            points: offsets from the centre along the axes, mm, shape (3, …).
            radius: mm.
        """
        scale = np.float64(self.radius / radius)
        index = [
            part * scale / step + middle
            for part, step, middle in zip(points, self.spacing, self.centre, strict=True)
        ]
        found = map_coordinates(self.signed, np.stack(index), order=1, mode="constant", cval=BEYOND_MM)
        return np.asarray(found / scale)


@lru_cache(maxsize=512)
def real_shapes(path: str) -> tuple[RealShape, ...]:
    """The lesions of a mask, in the order of their labels; none where the mask is empty.

    Raises:
        InputError: no file that can be read.
    """
    from aberra.volume import Volume

    volume = Volume.read(Path(path))
    labels, count = label(volume.data[0] > 0)
    return tuple(_shape(labels == number, volume.spacing) for number in range(1, count + 1))


def _shape(region: NDArray[np.bool], spacing: tuple[float, float, float]) -> RealShape:
    inside = region[tuple(slice(max(0, part.start - FRAME), part.stop + FRAME) for part in box_of(region))]
    signed = distance_transform_edt(~inside, sampling=spacing) - distance_transform_edt(
        inside, sampling=spacing
    )
    places = np.argwhere(inside)
    centre = places.mean(axis=0)
    return RealShape(
        signed=gaussian_filter(signed.astype(np.float32), 0.5),
        spacing=spacing,
        centre=(float(centre[0]), float(centre[1]), float(centre[2])),
        voxels=len(places),
        radius=float((3 * len(places) * np.prod(spacing) / (4 * np.pi)) ** (1 / 3)),
        reach=float(np.sqrt((((places - centre) * spacing) ** 2).sum(axis=1)).max()),
    )
