"""Natural images as anomalies: pictures that a user gives, shown in the axial plane."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from aberra.errors import InputError
from aberra.files import reading

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.mood.anomaly import Anomaly
    from aberra.mood.scan import Scan

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
EDGE = 256
"""Pixels of a picture's shorter edge from which nothing more can be seen of it in a scan."""


def pictures(folder: Path) -> tuple[str, ...]:
    """The pictures of a folder, sorted.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    with reading(folder):
        found = tuple(
            str(each) for each in sorted(folder.absolute().iterdir()) if each.suffix.lower() in SUFFIXES
        )
    if not found:
        raise InputError(f"{folder}: no picture here; expected files that end in {', '.join(SUFFIXES)}")
    return found


@lru_cache(maxsize=16)
def picture(path: str) -> NDArray[np.float32]:
    """The middle square of a picture in grey, its own 1st and 99th percentile at 0 and 1, shape (N,
    N).

    Raises:
        InputError: it cannot be read, or is of one colour.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            grey = ImageOps.exif_transpose(image).convert("L")
    except Exception as error:
        raise InputError(
            f"{path}: the picture cannot be read ({error}); take it out of the folder"
        ) from error
    edge = min(grey.size)
    square = ImageOps.fit(grey, (min(edge, EDGE),) * 2)
    pixels = np.asarray(square, dtype=np.float32)
    low, high = np.percentile(pixels, [1, 99])
    if high - low < 1:
        raise InputError(f"{path}: the picture is of one colour; take it out of the folder")
    found: NDArray[np.float32] = np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32)
    return found


def shown(scan: Scan, anomaly: Anomaly) -> NDArray[np.float32]:
    """The anomaly's picture on the scan's voxels, as wide as the anomaly and the same in all axial
    slices, shape (D, H, W); seen as radiologists look at slices.
    """
    pixels = picture(anomaly.file)
    index = np.indices(scan.volume.shape, dtype=np.float32)
    index -= np.array(anomaly.centre, dtype=np.float32).reshape(3, 1, 1, 1)
    right, front = np.tensordot(scan.volume.affine[:2, :3].astype(np.float32), index, axes=1)
    middle = 0.5 * (len(pixels) - 1)
    scale = middle / np.float32(anomaly.radius_mm)
    where = np.stack([middle - scale * front, middle - scale * right])
    found: NDArray[np.float32] = map_coordinates(pixels, where, order=1, mode="reflect")
    return found
