"""Field of view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.options import EdgeOrNone, configured
from aberra.prepare.grid import LARGEST, warn
from aberra.volume import ON_GRID

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
        low = []
        for axis, edge in enumerate(self.shape):
            length = volume.shape[axis]
            first, last = 0, length - 1
            if self.centre == "mask" and volume.mask is not None and volume.mask.any():
                hit = np.flatnonzero(
                    volume.mask.any(axis=tuple(other for other in range(3) if other != axis))
                )
                first, last = int(hit[0]), int(hit[-1])
            low.append(0 if not edge else (first + last + 1 - edge) // 2)
        shape = tuple(edge or length for edge, length in zip(self.shape, volume.shape, strict=True))
        if np.prod(shape) > max(LARGEST, int(np.prod(volume.shape))):
            raise InputError(
                f"a scan of {volume.shape} voxels would be padded to {shape}; is the spacing in its header right?"
            )
        if tuple(low) == (0, 0, 0) and shape == volume.shape:
            return volume
        shift = np.eye(4)
        shift[:3, 3] = low
        moved = {
            name: None if (array := getattr(volume, name)) is None else _window(array[None], low, shape)[0]
            for name in ON_GRID
        }
        cropped = volume.with_(data=_window(volume.data, low, shape), affine=volume.affine @ shift, **moved)
        if volume.mask is not None and cropped.mask is not None:
            lost = 1 - cropped.mask.sum() / max(1, volume.mask.sum())
            if lost > 1e-3:
                return warn(
                    cropped,
                    f"{lost:.1%} of the foreground lies outside the model's field of view and is not judged",
                )
        return cropped


def _window(array: np.ndarray, low: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Cut (C, D, H, W) at ``low``, zeros where it does not reach."""
    out = np.zeros((len(array), *shape), dtype=array.dtype)
    source, target = [slice(None)], [slice(None)]
    for start, edge, length in zip(low, shape, array.shape[1:], strict=True):
        first, last = max(0, start), max(0, min(length, start + edge))
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    out[tuple(target)] = array[tuple(source)]
    return out
