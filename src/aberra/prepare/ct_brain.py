"""The brain in a head CT by thresholds and components: what bone encloses and no narrow passage leads
to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.foreground import largest, nonzero

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

GRID_MM = 2.0
"""Voxel size of the grid that the brain is looked for on."""

SMOOTH_MM = 1.0
"""σ against noise."""

BONE_HU, SOFT_HU = 140.0, -25.0
"""Above is bone, below air and fat; blood (up to 100 HU) and fluid (from 0 HU) lie between."""

BONE_ML = 100.0
"""Less bone is no skull: it was stripped away."""

PASSAGE_MM = 11.0
"""Radius up to which a passage is no way out of the skull: orbits and the spinal canal are behind
narrower ones."""

SIDES = 3
"""Of left, right, in front, behind and above, where bone has to be: orbits, sutures and a scan's end
leave one side open."""

CLOSE_MM = 6.0
"""Radius up to which calcium and bright blood are filled in."""


def ct_brain(volume: Volume) -> NDArray[np.bool]:
    """Find the inside of the skull in the first channel of a head CT.

    Soft tissue with bone on three of five sides (left, right, in front, behind, above) is kept where a
    ball of 11 mm fits, or comes near: the largest such region is the inside of the skull, with all its
    fluid.

    Args:
        volume: a head in HU, any orientation; at least the upper half of the skull.

    Returns:
        Mask of shape (D, H, W). A scan without a skull keeps its non-zero voxels, holes filled. Empty
        where nothing is enclosed.

    Limits: where much bone was taken away the scalp may be taken for brain; below the skull base
    about a centimetre of the spinal canal remains.
    """
    from scipy.ndimage import binary_dilation, binary_fill_holes, distance_transform_edt, gaussian_filter

    from aberra.prepare.grid import resample_to
    from aberra.prepare.orient import Orient
    from aberra.prepare.resample import Resample

    if float((volume.data[0] > BONE_HU).sum()) * volume.voxel_mm3 / 1000 < BONE_ML:
        return np.stack([binary_fill_holes(each) for each in nonzero(volume.data[:1])])
    # slices are turned first, so that "above" is an axis
    plain = volume.with_(
        data=volume.data[:1], channels=volume.channels[:1], mask=None, lesion=None, kinds=None
    )
    grid = Resample(spacing=[GRID_MM] * 3)(Orient(to="SPL")(plain))
    hu = gaussian_filter(grid.data[0], SMOOTH_MM / GRID_MM)
    bone = hu > BONE_HU
    inside = ~bone & (hu > SOFT_HU) & _enclosed(bone)
    room = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1] * GRID_MM
    core = largest(room > PASSAGE_MM)
    if not core.any():
        return np.zeros(volume.shape, dtype=bool)
    # back to what was worn away, through tissue only: the orbits lie close, but behind bone
    brain = binary_dilation(core, iterations=round(1.5 * PASSAGE_MM / GRID_MM), mask=inside)
    closed = ~_within(~_within(brain, CLOSE_MM), CLOSE_MM) & _enclosed(bone)
    found = binary_fill_holes(brain | (closed & (hu < BONE_HU + 60)))
    coarse = resample_to(found.astype(np.float32), grid.affine, volume.affine, volume.shape) > 0.5
    # the coarse grid carried bone into the fluid beside it
    near = distance_transform_edt(~coarse, sampling=volume.spacing) <= max(GRID_MM, min(volume.spacing))
    soft = (volume.data[0] < BONE_HU) & (volume.data[0] > SOFT_HU)
    mask: NDArray[np.bool] = coarse | (near & soft)
    return mask


def _within(there: NDArray[np.bool], reach_mm: float) -> NDArray[np.bool]:
    """What lies no further than that from a mask (D, H, W)."""
    from scipy.ndimage import distance_transform_edt

    found: NDArray[np.bool] = distance_transform_edt(~there) * GRID_MM <= reach_mm
    return found


def _enclosed(bone: NDArray[np.bool]) -> NDArray[np.bool]:
    """Voxels (D, H, W) with bone in :data:`SIDES` of five directions: left, right, in front, behind,
    above.
    """
    seen = np.zeros(bone.shape, dtype=np.uint8)
    for axis, backwards in ((0, True), (1, False), (1, True), (2, False), (2, True)):
        turned = np.flip(bone, axis) if backwards else bone
        met = np.logical_or.accumulate(turned, axis=axis)
        seen += np.flip(met, axis) if backwards else met
    found: NDArray[np.bool] = seen >= SIDES
    return found
