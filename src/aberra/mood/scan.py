"""A healthy scan as the challenge shows it: intensities in [0, 1], and where anomalies may lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from aberra.errors import InputError
from aberra.foreground import body, constant, cut_away, level, nonzero
from aberra.synthesis.scans import MappedScan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.volume import Volume

LOWEST, HIGHEST = 0.5, 99.5
"""Percentiles that become 0 (of the whole scan, where its background was measured) and 1 (of the
foreground)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """A scan that anomalies are put into.

    Attributes:
        volume: one channel with values in [0, 1].
        inside: foreground without holes, shape (D, H, W): the scan's mask, where it has one.
        labels: file of its tissue map; None where there is none.
        range: intensities of the source that became 0 and 1; what was beyond is cut off.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.mood import Scan
        >>> data = np.zeros((1, 9, 9, 9), np.float32)
        >>> data[:, 2:7, 2:7, 2:7] = np.random.default_rng(0).random((5, 5, 5)) + 1
        >>> scan = Scan.of(Volume(data=data, affine=np.eye(4)))
        >>> float(scan.data.min()), float(scan.data.max()), int(scan.inside.sum())
        (0.0, 1.0, 125)
    """

    volume: Volume
    inside: NDArray[np.bool]
    labels: Path | None
    range: tuple[float, float]

    @classmethod
    def of(cls, volume: Volume, labels: Path | None = None) -> Scan:
        """Scale a scan.

        Args:
            volume: as it was read; one channel.
            labels: file of its tissue map.

        Raises:
            InputError: a single slice, several channels, or no contrast.
        """
        name = volume.provenance.get("path", volume.provenance.get("case", "scan"))
        if volume.is_image:
            raise InputError(f"{name}: a single slice; the challenge is one of volumes, give volumes")
        if len(volume.data) != 1:
            raise InputError(f"{name}: {len(volume.data)} channels; the challenge has one, choose it")
        if why := constant(volume):
            raise InputError(f"{name}: {why}; leave the case out")
        channel = volume.data[0]
        found = nonzero(volume.data)
        cut = cut_away(channel, found)
        unmasked = found if cut else body(channel)
        inside = binary_fill_holes(unmasked if volume.mask is None else volume.mask)
        if not inside.any():
            raise InputError(f"{name}: no foreground; leave the case out, or give a mask")
        background = level(channel)
        below = cut and background <= np.median(channel[inside])
        low = background if below else float(np.percentile(channel, LOWEST))
        high = float(np.percentile(channel[inside], HIGHEST))
        scaled = np.clip((channel - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
        return cls(
            volume=volume.with_(data=scaled[None], lesion=None),
            inside=inside,
            labels=labels,
            range=(float(low), high),
        )

    @property
    def data(self) -> NDArray[np.float32]:
        """Intensities (D, H, W)."""
        found: NDArray[np.float32] = self.volume.data[0]
        return found

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """How far each voxel lies from what is not foreground, mm, shape (D, H, W); what is beyond
        the grid is none.
        """
        framed = np.pad(self.inside, 1)
        found: NDArray[np.float64] = distance_transform_edt(framed, sampling=self.volume.spacing)
        return found[1:-1, 1:-1, 1:-1].astype(np.float32)

    @cached_property
    def mapped(self) -> MappedScan:
        """The scan with its tissue map.

        Raises:
            InputError: it has none.
        """
        if self.labels is None:
            raise InputError(f"{self.volume.provenance.get('path', 'scan')}: no tissue map (column 'labels')")
        return MappedScan.of(self.volume, self.labels)

    def offsets(self, centre: tuple[int, int, int]) -> NDArray[np.float32]:
        """Offset of each voxel from one of them along the axes, mm, shape (3, D, H, W)."""
        axes = [
            (np.arange(length, dtype=np.float32) - at) * np.float32(step)
            for length, at, step in zip(self.volume.shape, centre, self.volume.spacing, strict=True)
        ]
        found: NDArray[np.float32] = np.stack(np.meshgrid(*axes, indexing="ij"))
        return found
