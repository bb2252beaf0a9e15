"""Field of view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.foreground import box_of
from aberra.options import EdgeOrNone, configured
from aberra.prepare.grid import LARGEST, warn, window

if TYPE_CHECKING:
    from aberra.volume import Volume


class Crop:
    """Crop or pad with zeros to a fixed size, centred on the mask's bounding box or on the grid.

    Args:
        shape: voxels along D, H, W; 0 keeps an axis.
        centre: ``mask`` or ``grid``.

    Raises:
        ConfigError: unknown centre, or not three edges of 0 or more.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.crop import Crop
        >>> scan = Volume(data=np.ones((1, 4, 5, 6)), affine=np.diag([-2.0, -2.0, 3.0, 1.0]))
        >>> Crop(shape=(0, 8, 4), centre="grid")(scan).shape
        (4, 8, 4)
    """

    name = "crop"
    version = 1

    @configured("crop")
    def __init__(self, *, shape: Sequence[EdgeOrNone], centre: Literal["mask", "grid"] = "mask") -> None:
        if len(shape) != 3:
            raise ConfigError(f"crop: shape {list(shape)}; expected three edges in voxels, 0 to keep an axis")
        self.shape = list(shape)
        self.centre = centre

    def __call__(self, volume: Volume) -> Volume:
        """Return the cropped volume; its affine stays true. Warns when foreground is cut off.

        Raises:
            InputError: it would be larger than memory holds.
        """
        box: tuple[slice, ...] = tuple(slice(0, length) for length in volume.shape)
        if self.centre == "mask" and volume.mask is not None and volume.mask.any():
            box = box_of(volume.mask)
        parts = zip(box, self.shape, strict=True)
        low = [(part.start + part.stop - edge) // 2 if edge else 0 for part, edge in parts]
        shape = tuple(edge or length for edge, length in zip(self.shape, volume.shape, strict=True))
        if np.prod(shape) > max(LARGEST, int(np.prod(volume.shape))):
            raise InputError(
                f"a scan of {volume.shape} voxels would be padded to {shape}; is the spacing in its header right?"
            )
        if tuple(low) == (0, 0, 0) and shape == volume.shape:
            return volume
        shift = np.eye(4)
        shift[:3, 3] = low
        cropped = volume.moved(
            lambda array: window(array, low, shape),
            data=window(volume.data, low, shape),
            affine=volume.affine @ shift,
        )
        if volume.mask is not None and cropped.mask is not None:
            lost = 1 - cropped.mask.sum() / max(1, volume.mask.sum())
            if lost > 1e-3:
                note = (
                    f"{lost:.1%} of the foreground lies outside the model's field of view and is not judged"
                )
                return warn(cropped, note)
        return cropped
