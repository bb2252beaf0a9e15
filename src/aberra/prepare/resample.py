"""Voxel size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.options import NotNegative, configured
from aberra.prepare.grid import LARGEST, regrid
from aberra.volume import mm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from aberra.volume import Volume

FWHM = 2.355
"""Full width at half maximum of a Gaussian, in σ."""

SHORT = 8
"""Along more than one axis so many voxels never become one."""


class Resample:
    """Change the voxel size; the field of view is kept.

    Data are smoothed before they are thinned out (σ so that the Gaussian's width covers the new
    voxel), mask and truth go by nearest neighbour.

    Args:
        spacing: mm along the volume's D, H, W; 0 keeps an axis.
        order: 1 linear, 0 nearest neighbour.

    Raises:
        ConfigError: not three sizes of 0 or more.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.resample import Resample
        >>> scan = Volume(data=np.ones((1, 4, 5, 6)), affine=np.diag([-2.0, -2.0, 3.0, 1.0]))
        >>> resampled = Resample(spacing=(1, 1, 0))(scan)
        >>> resampled.shape, resampled.spacing
        ((8, 10, 6), (1.0, 1.0, 3.0))
    """

    name = "resample"
    version = 2

    @configured("resample")
    def __init__(self, *, spacing: Sequence[NotNegative], order: Literal[0, 1] = 1) -> None:
        if len(spacing) != 3:
            raise ConfigError(
                f"resample: spacing {list(spacing)}; expected three sizes in mm, 0 to keep an axis"
            )
        self.spacing = [float(step) for step in spacing]
        self.order = order

    def __call__(self, volume: Volume) -> Volume:
        """Return the resampled volume.

        Raises:
            InputError: nothing, or more than memory holds, would be left: the scan's spacing is not
                what it says.
        """
        wanted = [new or old for new, old in zip(self.spacing, volume.spacing, strict=True)]
        ratio = np.array([new / old for new, old in zip(wanted, volume.spacing, strict=True)])
        ratio[[length == 1 for length in volume.shape]] = 1
        if np.allclose(ratio, 1, atol=1e-3):
            return volume
        depth, height, width = (
            max(1, int(np.ceil(length / max(factor, 1e-12) - 1e-6)))
            for length, factor in zip(volume.shape, ratio, strict=True)
        )
        shape = depth, height, width
        gone = sum(new == 1 and old >= SHORT for new, old in zip(shape, volume.shape, strict=True)) > 1
        if gone or depth * height * width > max(LARGEST, int(np.prod(volume.shape))):
            raise InputError(
                f"voxels of {mm(volume.spacing)} would become {mm(wanted)}, and {volume.shape} of them {shape}; is the spacing "
                "in the scan's header right?"
            )
        data = smoothed(volume.data, ratio) if self.order else volume.data
        scale = np.diag([*ratio, 1.0])
        # centre the new grid on the old one: both cover the same field of view
        scale[:3, 3] = ((np.array(volume.shape) - 1) - (np.array(shape) - 1) * ratio) / 2
        return regrid(volume, volume.affine @ scale, shape, order=self.order, data=data)


def smoothed(data: NDArray[np.float32], ratio: Iterable[float]) -> NDArray[np.float32]:
    """Smooth (C, D, H, W) along the axes that will be thinned out by ``ratio`` (new voxel over
    old), against aliasing.
    """
    from scipy.ndimage import gaussian_filter

    # one voxel is the least that is left of an axis
    factors = [max(1, min(wanted, length)) for wanted, length in zip(ratio, data.shape[1:], strict=True)]
    widths = [np.sqrt(factor**2 - 1) / FWHM for factor in factors]
    return np.asarray(gaussian_filter(data, (0, *widths), mode="nearest")) if any(widths) else data
