"""Append the atlas' tissue maps as channels, on the scan's own grid."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from aberra.options import configured
from aberra.prepare.atlas import tissues
from aberra.prepare.grid import resample_to
from aberra.prepare.register import locate, noted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

NAMES = ("csf", "gm", "wm")
"""Channels that are appended: shares of fluid, grey and white matter in MNI152."""

BLUR_MM, STEP = 2.0, 2
"""σ of the maps, as registration is not exact; every second voxel of them holds all that is
left."""


class AtlasMaps:
    """Say what tissue is expected where: MNI152's shares of fluid, grey and white matter as three
    more channels.

    The atlas is placed by an affine registration, as in :class:`aberra.prepare.register.Register`,
    but it is the atlas that is moved: the scan stays on its voxels. Maps are zero outside the brain
    mask.
    """

    name = "atlas-maps"
    version = 1
    appends = NAMES

    @configured("atlas-maps")
    def __init__(self) -> None:
        pass

    def __call__(self, volume: Volume) -> Volume:
        """Return the scan with three more channels; a registration that failed is a warning."""
        to_scan, fact, why = locate(volume)
        return noted(with_maps(volume, to_scan), fact, why)


def with_maps(volume: Volume, to_scan: NDArray[np.float64]) -> Volume:
    """Append the maps, placed by the affine from atlas mm to scan mm (RAS+)."""
    maps, affine = blurred()
    here = resample_to(maps, to_scan @ affine, volume.affine, volume.shape)
    if volume.mask is not None:
        here *= volume.mask
    return volume.with_(data=np.concatenate([volume.data, here]), channels=(*volume.channels, *NAMES))


@cache
def blurred() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The three maps (3, D, H, W), zero outside the brain, and their affine (atlas mm, RAS+)."""
    from scipy.ndimage import gaussian_filter

    maps, _, affine = tissues()
    thin = np.diag([STEP, STEP, STEP, 1.0])
    smooth = np.stack([gaussian_filter(each, BLUR_MM)[::STEP, ::STEP, ::STEP] for each in maps])
    return np.ascontiguousarray(smooth), affine @ thin
