"""Axis order and direction, without interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import ConfigError
from aberra.options import configured
from aberra.prepare.grid import reoriented
from aberra.volume import SPL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume


class Orient:
    """Permute and flip axes so that they run towards ``to``; exact, the affine is adjusted.

    A 2-D image is turned to :attr:`~aberra.volume.Volume.standard` instead, so that D is the axis
    across it.

    Args:
        to: three codes of R/L, A/P, S/I, one of each pair; ``SPL`` gives radiological axial slices
            along D.

    Raises:
        ConfigError: not an orientation.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.orient import Orient
        >>> scan = Volume(data=np.ones((1, 4, 5, 6)), affine=np.diag([-2.0, -2.0, 3.0, 1.0]))
        >>> Orient(to="SPL")(scan).shape
        (6, 5, 4)
    """

    name = "orient"
    version = 2

    @configured("orient")
    def __init__(self, *, to: str = SPL) -> None:
        if len(to) != 3 or not all(set(to) & set(pair) for pair in ("RL", "AP", "SI")):
            raise ConfigError(f"orient.to={to}: expected an orientation, three codes such as SPL or RAS")
        self.to = to

    def __call__(self, volume: Volume) -> Volume:
        """Return the reoriented volume."""
        to = volume.standard if volume.is_image else self.to

        def move(array: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(reoriented(array, volume.affine, to)[0])

        return volume.moved(
            move,
            data=np.stack([move(channel) for channel in volume.data]),
            affine=reoriented(volume.data[0], volume.affine, to)[1],
        )
