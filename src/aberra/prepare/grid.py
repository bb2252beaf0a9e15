"""Resampling between grids through their affines, slab by slab."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.memory import refuse_too_much
from aberra.volume import SPL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

SLAB_VOXELS = 1 << 22
"""Target voxels resampled at once: bounds the coordinate arrays of a 512³ target."""

LARGEST = 1 << 29
"""Voxels of a target grid, or as many as the source has: 2 GiB a channel; more come of a wrong
spacing or size."""

ROUNDING = 1e-6
"""Of places, in voxels."""

REACH = 0.5 + ROUNDING
"""How far a voxel reaches from its centre, in voxels; the excess forgives rounding."""


def resample_to(
    array: NDArray[Any],
    affine: NDArray[np.float64],
    target_affine: NDArray[np.float64],
    target_shape: tuple[int, int, int],
    *,
    order: int = 1,
) -> NDArray[Any]:
    """Resample onto another grid; zero where the source does not reach.

    A voxel reaches half its size to each side of its centre, so the outermost half voxels repeat
    their neighbour. Both grids are walked along S, P, L: which of two equally near voxels is taken
    does not depend on the order of a file's axes.

    Args:
        array: shape (D, H, W) or (C, D, H, W).
        affine: index to mm of ``array``.
        target_affine: index to mm of the target.
        target_shape: (D, H, W) of the target.
        order: 0 nearest neighbour, 1 linear.

    Returns:
        Float32 (bool for a bool source with order 0), the target's shape, channels kept.

    Raises:
        ConfigError: the target does not fit into memory, as a slip of a voxel size or of a number
            of voxels asks for.
    """
    from scipy.ndimage import affine_transform

    if array.ndim == 4:
        return np.stack(
            [resample_to(part, affine, target_affine, target_shape, order=order) for part in array]
        )
    if array.shape == tuple(target_shape) and np.allclose(affine, target_affine, atol=1e-6):
        return array.copy()
    refuse_too_much(
        4.0 * prod(target_shape),
        f"a grid of {' × '.join(map(str, target_shape))} voxels",
        "check the scan's voxel size, prepare.spacing and prepare.size",
    )
    logical = array.dtype == bool
    array, affine = reoriented(array, affine, SPL)
    source = np.ascontiguousarray(array, dtype=np.uint8 if logical else np.float32)
    out = np.empty(target_shape, dtype=source.dtype)
    view, target_affine = reoriented(out, target_affine, SPL)
    # Rounded, so that a mere permutation or shift hits the source's voxels exactly and is
    # exact itself.
    step = np.round(np.linalg.inv(affine) @ target_affine, 9)
    slab = max(1, SLAB_VOXELS // max(1, view.shape[1] * view.shape[2]))
    for start in range(0, view.shape[0], slab):
        part = view[start : start + slab]
        offset = step[:3, 3] + step[:3, 0] * start
        # midway between two voxels rounding would decide, which differs from file to file
        shift = offset + (0 if order else ROUNDING)
        affine_transform(
            source, step[:3, :3], offset=shift, output_shape=part.shape, output=part, order=order, mode="nearest"
        )  # fmt: skip
        _blank_outside(part, step[:3, :3], offset, source.shape)
    return out.astype(bool) if logical else out


def reoriented(
    array: NDArray[Any], affine: NDArray[np.float64], to: str
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A view of an array (D, H, W) with its axes along other directions, as in ``SPL``, and the
    view's affine.
    """
    from nibabel.orientations import (
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt_transform,
    )

    change = ornt_transform(io_orientation(affine), axcodes2ornt(to))
    return apply_orientation(array, change), affine @ inv_ornt_aff(change, array.shape)


def _blank_outside(
    part: NDArray[Any], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...]
) -> None:
    """Set to zero, in place, what lies more than half a source voxel beyond the source's outermost
    centres.
    """
    index = np.ix_(*(np.arange(length, dtype=np.float64) for length in part.shape))
    for row, start, length in zip(matrix, offset, shape, strict=True):
        ends = row * (np.array(part.shape) - 1)
        low, high = start + np.minimum(ends, 0).sum(), start + np.maximum(ends, 0).sum()
        if low < -REACH or high > length - 1 + REACH:
            place = start + sum(step * axis for step, axis in zip(row, index, strict=True) if step)
            part[np.broadcast_to((place < -REACH) | (place > length - 1 + REACH), part.shape)] = 0


def back(array: NDArray[Any], prepared: Volume, source: Volume, *, order: int = 1) -> NDArray[np.float32]:
    """Bring an array on a prepared grid back onto the scan's own grid.

    Args:
        array: on ``prepared``'s grid, shape (D, H, W) or (C, D, H, W).
        prepared: the prepared volume; its affine says where it lies in the scan's space.
        source: the scan as it was read.
        order: 0 nearest neighbour, 1 linear.

    Returns:
        Float32 on ``source``'s grid, zero outside the prepared field of view.
    """
    found = resample_to(array, prepared.affine, source.affine, source.shape, order=order)
    return np.asarray(found, dtype=np.float32)


def regrid(
    volume: Volume,
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    order: int = 1,
    **changes: Any,
) -> Volume:
    """Move a whole volume to another grid: data by ``order``, mask and truth by nearest neighbour."""
    data = resample_to(changes.pop("data", volume.data), volume.affine, affine, shape, order=order)
    return volume.moved(
        lambda array: resample_to(array, volume.affine, affine, shape, order=0),
        **({"data": data, "affine": affine} | changes),
    )


def window(array: NDArray[Any], low: Sequence[int], shape: Sequence[int]) -> NDArray[Any]:
    """Cut a box that begins at ``low`` out of (..., D, H, W); zeros where it reaches beyond."""
    out = np.zeros((*array.shape[:-3], *shape), dtype=array.dtype)
    source, target = ([slice(None)] * (array.ndim - 3) for _ in range(2))
    for start, edge, length in zip(low, shape, array.shape[-3:], strict=True):
        source.append(slice(max(0, start), max(0, min(length, start + edge))))
        target.append(slice(source[-1].start - start, source[-1].stop - start))
    out[tuple(target)] = array[tuple(source)]
    return out


def warn(volume: Volume, note: str) -> Volume:
    """Add a warning to a volume's provenance."""
    warnings = [*volume.provenance.get("warnings", []), note]
    return volume.with_(provenance={**volume.provenance, "warnings": warnings})
