"""Rigid registration to MNI152."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.options import AtlasVoxel, configured
from aberra.prepare.register import onto_atlas

if TYPE_CHECKING:
    from aberra.volume import Volume


class RegisterRigid:
    """Turn and shift a brain so that it lies as MNI152 does, without changing its size or shape.

    As :class:`~aberra.prepare.register.Register` with three angles and three shifts: no lesion is
    stretched towards the atlas (Venkatakrishnan 2020, section 4.1), and slices of all scans are cut
    alike. Brains keep their sizes, so that the overlap with the atlas is less, too: below .7 it is a
    warning.

    Args:
        spacing: voxel size of the atlas grid in mm.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.register_rigid import RegisterRigid
        >>> grey, origin = np.ones((1, 1, 8, 8)), {"kind": "image"}
        >>> image = Volume(data=grey, affine=np.eye(4), provenance=origin)
        >>> RegisterRigid(spacing=4.0)(image) is image  # no brain to register
        True
    """

    name = "register-rigid"
    version = 1

    @configured("register-rigid")
    def __init__(self, *, spacing: AtlasVoxel = 2.0) -> None:
        self.spacing = float(spacing)

    def __call__(self, volume: Volume) -> Volume:
        """Return the scan on the atlas grid; images are left as they are."""
        return onto_atlas(volume, self.spacing, rigid=True)
