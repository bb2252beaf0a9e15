"""The MNI152 atlas that nilearn packages (ICBM 2009a): tissue maps, and the grid that scans are
registered to.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKING_MM = 4
"""Voxel size at which an affine transform is searched: it needs no finer grid."""


@cache
def template() -> tuple[NDArray[np.float32], NDArray[np.bool], NDArray[np.float64]]:
    """T1 brain and brain mask at the working resolution, and their affine."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    brain: Any = load_mni152_template(resolution=WORKING_MM)
    mask: Any = load_mni152_brain_mask(resolution=WORKING_MM)
    inside = np.asarray(mask.dataobj) > 0
    data = np.asarray(brain.dataobj, dtype=np.float32) * inside
    return data, inside, np.asarray(brain.affine, dtype=np.float64)


@cache
def tissues() -> tuple[NDArray[np.float32], NDArray[np.bool], NDArray[np.float64]]:
    """Shares of CSF, grey and white matter at 1 mm, shape (3, D, H, W), the brain mask, and their
    affine.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    source: Any = load_mni152_gm_template(resolution=1)
    gm = np.asarray(source.dataobj, dtype=np.float32)
    wm = np.asarray(load_mni152_wm_template(resolution=1).dataobj, dtype=np.float32)
    brain = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
    csf = np.clip(1 - gm - wm, 0, 1) * brain
    maps = np.stack([csf, gm * brain, wm * brain])
    maps /= np.maximum(maps.sum(axis=0), 1e-3)
    maps *= brain
    return maps, brain, np.asarray(source.affine, dtype=np.float64)


def atlas_grid(spacing: float) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape (D, H, W) = (S, P, L) and affine of the atlas at a voxel size in mm."""
    data, _, affine = template()
    ends = affine @ np.array([[0, 0, 0, 1], [*(length - 1 for length in data.shape), 1]]).T
    low, high = ends[:3].min(axis=1), ends[:3].max(axis=1)
    depth, height, width = np.ceil((high - low)[::-1] / spacing).astype(int)
    grid = np.zeros((4, 4))
    grid[2, 0], grid[1, 1], grid[0, 2], grid[3, 3] = spacing, -spacing, -spacing, 1
    grid[:3, 3] = [high[0], high[1], low[2]]
    return (int(depth), int(height), int(width)), grid
