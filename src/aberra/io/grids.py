"""Grids are compared by where their voxels lie in the world, whatever the order and direction of
the axes.
"""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.io.files import header_of, sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

    Grid = tuple[tuple[int, int, int], NDArray[np.float64] | None]
    """Shape (D, H, W) and affine; an image of pixels has no place in the world and no affine."""

TOLERANCE = 0.1
"""How far, in voxels of the other grid, a corner's centre may be from where it should be: headers
are rounded."""


def onto(volume: Volume, like: Volume) -> Volume | None:
    """The same voxels in another volume's axis order, with its affine; None where they are other
    voxels.

    The axes are permuted and flipped, nothing is interpolated. PNG, JPEG and TIFF have no place in
    the world: for them the shape decides.
    """
    loose = "image" in {each.provenance.get("format") for each in (volume, like)}
    turn = turned(
        (volume.shape, None if loose else volume.affine), (like.shape, None if loose else like.affine)
    )
    if turn is None:
        return None
    axes, flipped = turn

    def moved(array: NDArray[Any]) -> NDArray[Any]:
        extra = array.ndim - 3
        order = (*range(extra), *(extra + axis for axis in axes))
        return np.ascontiguousarray(np.flip(array.transpose(order), tuple(extra + axis for axis in flipped)))

    return volume.moved(moved, data=moved(volume.data), affine=like.affine)


def turned(grid: Grid, like: Grid) -> tuple[tuple[int, ...], list[int]] | None:
    """How to get from a grid to one on the same voxels: the order of its axes, then which of these
    to flip; None if there is no way.
    """
    (shape, affine), (other, wanted) = grid, like
    if affine is None or wanted is None:
        return ((0, 1, 2), []) if shape == other else None
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in other))], dtype=float)
    try:
        to_index = np.linalg.inv(wanted)
    except np.linalg.LinAlgError:
        return None
    for axes in permutations(range(3)):
        if tuple(shape[axis] for axis in axes) != other:
            continue
        for flips in product((False, True), repeat=3):
            back = np.zeros((4, 4))  # index on the other grid to index on this one
            back[3, 3] = 1
            for here, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
                back[axis, here] = -1 if flip else 1
                back[axis, 3] = other[here] - 1 if flip else 0
            off = corners @ (to_index @ affine @ back).T - corners
            if np.abs(off).max() <= TOLERANCE:
                return axes, [axis for axis, flip in enumerate(flips) if flip]
    return None


def grid_of(path: Path | str) -> Grid:
    """Shape and affine of an input from its headers alone.

    Raises:
        InputError: they cannot be read.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == "dicom":
        from aberra.io.dicom import dicom_grid

        return dicom_grid(path)
    try:
        if kind == "nifti":
            from aberra.io.nifti import geometry

            return geometry(header_of(path))
        from PIL import Image

        with Image.open(path) as picture:
            return (1, picture.height, picture.width), None
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: the header cannot be read ({error}); copy the file again") from error
