"""Axis order and direction, without interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import ConfigError
from aberra.options import configured
from aberra.volume import ON_GRID, SPL

if TYPE_CHECKING:
    from aberra.volume import Volume


class Orient:
    """Permute and flip axes so that they run towards ``to``; exact, the affine is adjusted.

    A 2-D image is turned to :attr:`~aberra.volume.Volume.standard` instead, so that D is the axis across it.

    Args:
        to: three codes of R/L, A/P, S/I, one of each pair; ``SPL`` gives radiological axial slices along D.

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
        if len(to) != 3 or {frozenset("RL"), frozenset("AP"), frozenset("SI")} != {
            next((pair for pair in (frozenset("RL"), frozenset("AP"), frozenset("SI")) if code in pair), None)
            for code in to
        }:
            raise ConfigError(f"orient.to={to}: expected an orientation, three codes such as SPL or RAS")
        self.to = to

    def __call__(self, volume: Volume) -> Volume:
        """Return the reoriented volume."""
        from nibabel.orientations import (
            apply_orientation,
            axcodes2ornt,
            inv_ornt_aff,
            io_orientation,
            ornt_transform,
        )

        to = volume.standard if volume.is_image else self.to
        change = ornt_transform(io_orientation(volume.affine), axcodes2ornt(to))
        affine = volume.affine @ inv_ornt_aff(change, volume.shape)
        moved = {
            name: None if (array := getattr(volume, name)) is None
            else np.ascontiguousarray(apply_orientation(array, change))
            for name in ON_GRID
        }  # fmt: skip
        data = np.stack([apply_orientation(channel, change) for channel in volume.data])
        return volume.with_(data=np.ascontiguousarray(data), affine=affine, **moved)
