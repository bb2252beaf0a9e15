"""An anomaly put into a scan, its truth, and how hard it is to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_closing

from aberra.mood.anomaly import as_tuples
from aberra.mood.operations import filled
from aberra.mood.shapes import weights
from aberra.mood.slabs import SLABS, changed_slab
from aberra.mood.warps import WARPS, bump, warped
from aberra.synthesis.profiles import Lesion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.mood.anomaly import Anomaly
    from aberra.mood.scan import Scan
    from aberra.volume import Volume

LEAST = 0.1
"""Weight from which a voxel is changed and belongs to the mask: of a soft edge, what lies up to 1.1
mm outside the border."""

CHANGED = 0.01
"""Change of intensity from which a voxel belongs to a disease's mask, as do those between two such;
smaller ones are undone."""

SIZE_MM, CONTRAST = 10.0, 0.1
"""Size and contrast at which an anomaly is seen to 1 − 1/e, all else being clear."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A scan with an anomaly.

    Attributes:
        volume: values in [0, 1]; ``lesion`` is the mask, outside which it is the scan, bit for bit.
        size_mm: radius of a ball as large as the mask.
        contrast: mean of the absolute change within the mask, share of the scan's range.
    """

    volume: Volume
    size_mm: float
    contrast: float

    @property
    def difficulty(self) -> float:
        """How hard the anomaly is to see, in [0, 1]; see :func:`difficulty`."""
        return difficulty(self.size_mm, self.contrast)


def difficulty(size_mm: float, contrast: float) -> float:
    """1 − (1 − exp(−size / 10 mm)) · (1 − exp(−contrast / 0.1)).

    1 is invisible, as too small or too faint; 0 is large and bright.

    Deviation: the challenge orders categories by how hard people found them; this is a formula, so
    that every case has a number.

    Args:
        size_mm: radius of a ball as large as the anomaly.
        contrast: mean absolute change, share of the scan's range.

    Examples:
        >>> from aberra.mood import difficulty
        >>> difficulty(0, 0.5), round(difficulty(30, 0.5), 2)
        (1.0, 0.06)
    """
    return float(1 - (1 - np.exp(-size_mm / SIZE_MM)) * (1 - np.exp(-contrast / CONTRAST)))


def apply(scan: Scan, anomaly: Anomaly) -> Made:
    """Put an anomaly into a scan; the same anomaly in the same scan gives the same bytes.

    Raises:
        InputError: a picture, mask or tissue map that cannot be read.
        ConfigError: an unknown subclass.
    """
    after, region = _changed(scan, anomaly)
    data = np.where(region, np.clip(after, 0, 1), scan.data).astype(np.float32)
    voxels = int(region.sum())
    size = (3 * voxels * scan.volume.voxel_mm3 / (4 * np.pi)) ** (1 / 3)
    change = np.abs(data - scan.data)[region]
    return Made(
        volume=scan.volume.with_(data=data[None], lesion=region),
        size_mm=float(size),
        contrast=float(change.mean()) if voxels else 0.0,
    )


def _changed(scan: Scan, anomaly: Anomaly) -> tuple[NDArray[np.float32], NDArray[np.bool]]:
    """Intensities after the change, and the mask, (D, H, W) each."""
    operation = anomaly.kind.operation
    if operation == "disease":
        return _diseased(scan, anomaly)
    if operation in SLABS:
        return changed_slab(scan, anomaly)
    weight = bump(scan, anomaly) if operation in WARPS else weights(scan, anomaly)
    region = scan.inside & (weight >= LEAST)
    if not region.any():
        return scan.data, region
    change = warped if operation in WARPS else filled
    return change(scan, anomaly, weight, region), region


def _diseased(scan: Scan, anomaly: Anomaly) -> tuple[NDArray[np.float32], NDArray[np.bool]]:
    """A lesion painted by its disease's profile, where the tissue map says."""
    lesion = Lesion(**as_tuples(anomaly.lesion or {}))
    after = scan.mapped.onto(scan.mapped.painted((lesion,)), scan.volume).data[0]
    changed = scan.inside & (np.abs(np.clip(after, 0, 1) - scan.data) >= CHANGED)
    return after, scan.inside & (changed | binary_closing(changed))
