"""The one container every room passes on: intensities with their grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

ON_GRID = ("mask", "lesion", "kinds")
"""Fields that lie on the grid beside the intensities, shape (D, H, W), and move with it by nearest neighbour."""

SPL = "SPL"
SLICES = {"S": "SPL", "I": "SPL", "A": "PIL", "P": "PIL", "R": "LIP", "L": "LIP"}
"""How a single slice is turned, by the axis across it: rows run down and columns to the right as radiologists see axial, coronal and
sagittal slices."""


def invertible(affine: NDArray[np.float64]) -> bool:
    """Whether an affine (4, 4) has an inverse, whatever the size of its voxels."""
    with np.errstate(all="ignore"):  # numbers that no scanner writes
        sizes = float(np.linalg.norm(affine[:3, :3], axis=0).prod())
        return bool(abs(np.linalg.det(affine[:3, :3])) > 1e-6 * sizes > 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A scan on its grid.

    Axes keep the order of the file: for NIfTI ``D, H, W`` are its i, j, k. A 2-D image is
    ``(C, 1, H, W)``. Nothing is reoriented on reading; ``prepare`` does that.

    Attributes:
        data: intensities, shape (C, D, H, W), float32, finite.
        affine: maps an index (d, h, w, 1) to millimetres in RAS+ scanner space, shape (4, 4).
        channels: one name a channel, as in ``("flair",)``.
        mask: brain or foreground, shape (D, H, W), bool; None where unknown.
        lesion: truth, shape (D, H, W), bool, lesions of any kind; None where unknown.
        kinds: label value of each lesion voxel as the mask file has it, 0 elsewhere, shape (D, H, W), uint8; None where ``lesion`` is
            unknown, or where every lesion voxel has the value 1. :attr:`labels` has them in either case.
        provenance: where it came from (``path``, ``format``, ``kind`` = ``volume`` or ``image``, ...).

    Raises:
        InputError: shapes disagree, data or affine is not finite, the affine has no inverse, or ``kinds`` are not those of ``lesion``.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    channels: tuple[str, ...] = ("image",)
    mask: NDArray[np.bool] | None = None
    lesion: NDArray[np.bool] | None = None
    kinds: NDArray[np.uint8] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.provenance.get("path", "volume")
        data = np.asarray(self.data, dtype=np.float32)
        affine = np.asarray(self.affine, dtype=np.float64)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)
        if data.ndim != 4:
            raise InputError(f"{name}: expected data of shape (C, D, H, W), got {data.shape}")
        if len(self.channels) != data.shape[0]:
            raise InputError(f"{name}: {data.shape[0]} channel(s) but names {self.channels}")
        if not np.isfinite(data).all():
            raise InputError(
                f"{name}: NaN or Inf intensities; replace them before use (`aberra doctor` counts them)"
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not invertible(affine):
            raise InputError(f"{name}: the affine is not an invertible 4×4 matrix; fix the header's spacing")
        self._check_labels(name)

    def _check_labels(self, name: str) -> None:
        """Refuse masks and labels that do not fit; leave out kinds that say nothing."""
        for label in ON_GRID:
            array = getattr(self, label)
            if array is None:
                continue
            if array.shape != self.shape:
                raise InputError(f"{name}: {label} has shape {array.shape}, the scan {self.shape}")
            object.__setattr__(self, label, np.asarray(array, dtype=np.uint8 if label == "kinds" else bool))
        if self.kinds is not None:
            if self.lesion is None or not np.array_equal(self.kinds > 0, self.lesion):
                raise InputError(f"{name}: kinds are label values of the lesion voxels and 0 elsewhere")
            if self.kinds.max(initial=0) <= 1:
                object.__setattr__(self, "kinds", None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid size (D, H, W)."""
        _, d, h, w = self.data.shape
        return d, h, w

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along (D, H, W) in mm."""
        d, h, w = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(d), float(h), float(w)

    @property
    def standard(self) -> str:
        """Axis codes that ``prepare`` and fingerprints turn it to: ``SPL``; of a 2-D image such that D is the axis across it."""
        return SLICES[self.orientation[self.shape.index(1)]] if self.is_image else SPL

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Axis codes the indices run towards, e.g. ``"RAS"``."""
        from nibabel.orientations import aff2axcodes

        return "".join(aff2axcodes(self.affine))

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """Label value of each lesion voxel, 0 elsewhere, shape (D, H, W); None where the truth is unknown."""
        if self.kinds is not None or self.lesion is None:
            return self.kinds
        return self.lesion.astype(np.uint8)

    @property
    def is_image(self) -> bool:
        """Whether this is a 2-D image (one axis of length 1)."""
        return 1 in self.shape

    @classmethod
    def read(cls, path: Path | str, *, channel: str = "image") -> Volume:
        """Read one scan: a NIfTI, a DICOM folder or file, or an image; recognised by content.

        Raises:
            InputError: the file is missing, damaged or not a single-channel scan.
        """
        from aberra.io import read

        return read(path, channel=channel)

    @classmethod
    def stored(cls, **fields: Any) -> Volume:
        """A volume of arrays that were a volume's when they were stored, taken without the checks.

        The checks read all of a memory map, which is too much for one slice of it. All fields are to be given.
        """
        volume = object.__new__(cls)
        for name, value in fields.items():
            object.__setattr__(volume, name, value)
        return volume

    def write(self, path: Path | str) -> None:
        """Write as NIfTI (one channel: 3-D float32; several: 4-D), atomically."""
        from aberra.io import write

        write(self, path)

    def with_(self, **changes: Any) -> Volume:
        """Return a copy with some fields replaced; another ``lesion`` has no ``kinds`` but those it comes with."""
        if "lesion" in changes:
            changes.setdefault("kinds", None)
        return replace(self, **changes)

    def same_grid(self, other: Volume, *, tolerance: float = 1e-3) -> bool:
        """Whether both share shape and affine (within ``tolerance`` mm)."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=tolerance))

    def content_hash(self) -> str:
        """SHA-256 of intensities, grid, channel names, mask, lesion and its kinds."""
        digest = sha256(repr((self.data.shape, self.channels)).encode())
        digest.update(np.ascontiguousarray(self.data).data)
        digest.update(np.ascontiguousarray(np.round(self.affine, 6)).data)
        for array in (self.mask, self.lesion):
            digest.update(b"-" if array is None else np.packbits(array).tobytes())
        if self.kinds is not None:
            digest.update(self.kinds.tobytes())
        return digest.hexdigest()
