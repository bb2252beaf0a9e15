"""How far the borders of two masks are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.foreground import box_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hd95(
    mask: NDArray[np.bool], truth: NDArray[np.bool], spacing: tuple[float, float, float]
) -> float | None:
    """95th percentile Hausdorff distance in mm of masks (D, H, W); None where either is empty.

    The larger of the two 95th percentiles of distances from one border to the other. A border is
    the voxels of a mask with a face neighbour outside it; where the volume has one slice, within
    the slice. Wolleb 2022 does not say which percentile convention.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    if not mask.any() or not truth.any():
        return None
    box = box_of(mask | truth)
    cross: NDArray[Any] = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, :] = cross[1, :, 1] = cross[:, 1, 1] = True
    if mask.shape[0] == 1:
        cross[0] = cross[2] = False
    borders = [each[box] & ~binary_erosion(each[box], cross) for each in (mask, truth)]
    far = [distance_transform_edt(~border, sampling=spacing) for border in borders]
    return float(max(np.percentile(far[1][borders[0]], 95), np.percentile(far[0][borders[1]], 95)))
