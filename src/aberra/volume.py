"""The one container every room passes on: intensities with their grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ON_GRID = ("mask", "lesion", "kinds")
"""Fields that lie on the grid beside the intensities, shape (D, H, W), and move with it by nearest
neighbour."""

SPL = "SPL"
SLICES = {"S": "SPL", "I": "SPL", "A": "PIL", "P": "PIL", "R": "LIP", "L": "LIP"}
"""How a single slice is turned, by the axis across it: rows run down and columns to the right as
radiologists see axial, coronal and sagittal slices."""


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
        data: intensities, shape (C, D, H, W), float32, finite; any real array or tensor is taken,
            without its gradient.
        affine: maps an index (d, h, w, 1) to millimetres in RAS+ scanner space, shape (4, 4).
        channels: one name a channel, as in ``("flair",)``.
        mask: brain or foreground, shape (D, H, W), bool; None where unknown.
        lesion: truth, shape (D, H, W), bool, lesions of any kind; None where unknown.
        kinds: label value of each lesion voxel as the mask file has it, 0 elsewhere, shape (D, H,
            W), uint8; None where ``lesion`` is unknown, or where every lesion voxel has the
            value 1. :attr:`labels` has them in either case.
        covariates: what is known of the person, by manifest column (``age``, ``sex``, ...); models
            with conditions are told of it.
        provenance: where it came from (``path``, ``format``, ``kind`` = ``volume`` or ``image``,
            ...).

    Raises:
        InputError: shapes disagree, data are not real numbers, data or affine is not finite, the
            affine has no inverse, masks have fractions, or ``kinds`` are not those of ``lesion``.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> scan = Volume(data=np.ones((1, 4, 5, 6)), affine=np.diag([-2.0, -2.0, 3.0, 1.0]))
        >>> scan.shape, scan.spacing, scan.orientation
        ((4, 5, 6), (2.0, 2.0, 3.0), 'LPS')
        >>> scan.with_(channels=("flair",)).channels
        ('flair',)
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    channels: tuple[str, ...] = ("image",)
    mask: NDArray[np.bool] | None = None
    lesion: NDArray[np.bool] | None = None
    kinds: NDArray[np.uint8] | None = None
    covariates: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("provenance", "covariates"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(
                    f"volume: {name} is a {type(getattr(self, name)).__name__}; expected a mapping"
                )
        name = self.provenance.get("path", "volume")
        data = _numbers(self.data, f"{name}: data", np.float32)
        if data.ndim != 4 or not data.size:
            hint = "; add a channel axis, as in data[None]" if data.ndim == 3 else ""
            raise InputError(f"{name}: expected data of shape (C, D, H, W), got {data.shape}{hint}")
        affine = _numbers(self.affine, f"{name}: affine", np.float64)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)
        self._check_channels(name)
        if not np.isfinite(data).all():
            raise InputError(
                f"{name}: NaN or Inf intensities; replace them before use (`aberra doctor` counts them)"
            )
        if (
            affine.shape != (4, 4)
            or not np.isfinite(affine).all()
            or not invertible(affine)
            or not np.array_equal(affine[3], [0, 0, 0, 1])
        ):
            raise InputError(
                f"{name}: the affine is not an invertible 4×4 matrix of last row 0 0 0 1 (shape {affine.shape}); fix the header's spacing"
            )
        self._check_labels(name)

    def _check_channels(self, name: str) -> None:
        """Refuse channel names that are not one text a channel."""
        channels = (self.channels,) if isinstance(self.channels, str) else tuple(self.channels)
        object.__setattr__(self, "channels", channels)
        if len(channels) != len(self.data) or not all(isinstance(each, str) for each in channels):
            raise InputError(f"{name}: {len(self.data)} channel(s) but names {channels}")

    def _check_labels(self, name: str) -> None:
        """Refuse masks and labels that do not fit; leave out kinds that say nothing."""
        for label in ON_GRID:
            if getattr(self, label) is None:
                continue
            array = np.asarray(_plain(getattr(self, label), f"{name}: {label}"))
            if array.shape != self.shape:
                raise InputError(f"{name}: {label} has shape {array.shape}, the scan {self.shape}")
            if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
                raise InputError(
                    f"{name}: {label} has values that are not whole numbers; cut it first, as in {label} > 0.5"
                )
            if label == "kinds" and not 0 <= array.min() <= array.max() <= 255:
                raise InputError(f"{name}: kinds are label values from 0 to 255")
            object.__setattr__(self, label, array.astype(np.uint8 if label == "kinds" else bool, copy=False))
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
    def grid(self) -> str:
        """Shape and voxel size in words: ``(20, 30, 40) at 1 × 1 × 4 mm``."""
        return f"{self.shape} at {mm(self.spacing)}"

    @property
    def standard(self) -> str:
        """Axis codes that ``prepare`` and fingerprints turn it to: ``SPL``; of a 2-D image such
        that D is the axis across it.
        """
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
        """Label value of each lesion voxel, 0 elsewhere, shape (D, H, W); None where the truth is
        unknown.
        """
        if self.kinds is not None or self.lesion is None:
            return self.kinds
        return self.lesion.astype(np.uint8)

    @property
    def judged(self) -> NDArray[np.bool]:
        """The mask, or every voxel where there is none, shape (D, H, W)."""
        return np.ones(self.shape, dtype=bool) if self.mask is None else self.mask

    @property
    def is_image(self) -> bool:
        """Whether this is a 2-D image (one axis of length 1)."""
        return 1 in self.shape

    @classmethod
    def read(cls, path: Path | str, *, channel: str = "image") -> Volume:
        """Read one scan: a NIfTI, a DICOM folder or file, or an image; recognised by content.

        Raises:
            InputError: the file is missing, damaged or not a single-channel scan, or this is no
                path.
        """
        from aberra.io import read

        return read(expect_path(path, "Volume.read"), channel=channel)

    @classmethod
    def stored(cls, **fields: Any) -> Volume:
        """A volume of arrays that were a volume's when they were stored, taken without the checks.

        The checks read all of a memory map, which is too much for one slice of it. All fields are
        to be given.
        """
        volume = object.__new__(cls)
        for name, value in fields.items():
            object.__setattr__(volume, name, value)
        return volume

    def write(self, path: Path | str) -> None:
        """Write as NIfTI (one channel: 3-D float32; several: 4-D), atomically."""
        from aberra.io import write

        write(self, path)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from aberra.report.notebook import volume_html

        return volume_html(self)

    def with_(self, **changes: Any) -> Volume:
        """Return a copy with some fields replaced; another ``lesion`` has no ``kinds`` but those it
        comes with.
        """
        if "lesion" in changes:
            changes.setdefault("kinds", None)
        return replace(self, **changes)

    def moved(self, move: Callable[[NDArray[Any]], NDArray[Any]], **changes: Any) -> Volume:
        """Return a copy whose mask, lesion and kinds, (D, H, W) each, went through ``move``, with
        other fields replaced.
        """
        arrays = {name: getattr(self, name) for name in ON_GRID}
        return self.with_(
            **{name: None if array is None else move(array) for name, array in arrays.items()}, **changes
        )

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


def expect_volume(given: object) -> Volume:
    """Return what was given if it is a volume.

    Raises:
        InputError: it is something else; says how to make a volume of it.
    """
    if isinstance(given, Volume):
        return given
    if isinstance(given, str | PathLike):
        how = f"Volume.read({str(given)!r})"
    elif hasattr(given, "dataobj") and hasattr(given, "affine"):
        how = "Volume.read(path), or Volume(data=image.get_fdata()[None], affine=image.affine)"
    elif hasattr(given, "channels") and hasattr(given, "read"):
        how = "detector.read(case)"
    else:
        how = "Volume.read(path), or Volume(data=array[None], affine=affine)"
    raise InputError(f"expected a Volume, got {described(given)}; as in {how}")


def expect_path(given: object, asked: str) -> Path:
    """Return what was given as a path, if it is one.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(given, str | PathLike):
        raise InputError(f"{asked}: expected a path, got {described(given)}")
    return Path(given)


def mm(lengths: Iterable[float]) -> str:
    """Lengths in words: ``1 × 1 × 4 mm``."""
    return " × ".join(f"{length:.3g}" for length in lengths) + " mm"


def described(given: object) -> str:
    """What something is, for a message: type, and shape where it has one."""
    shape, name = getattr(given, "shape", None), type(given).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" + (
        f" of shape {tuple(shape)}" if isinstance(shape, tuple) else ""
    )


def _plain(given: Any, what: str) -> Any:
    """An array of numbers without what NumPy would drop in silence; a tensor leaves its graph and
    its device.

    Raises:
        InputError: complex or masked numbers, text, objects, or nothing at all.
    """
    if hasattr(given, "detach"):
        given = given.detach().cpu().resolve_conj().resolve_neg()
        given = (given.float() if given.is_floating_point() and given.itemsize == 2 else given).numpy()
    if isinstance(given, np.ma.MaskedArray):
        raise InputError(f"{what} is a masked array; fill it first, as in array.filled(0)")
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{what} is {described(given)}; expected an array of real numbers ({error})"
        ) from error
    if array.dtype.kind not in "buif":
        kind = (
            "complex numbers: give their magnitude" if array.dtype.kind == "c" else f"of type {array.dtype}"
        )
        raise InputError(f"{what} is {described(given)}, {kind}; expected an array of real numbers")
    return array


def _numbers(given: Any, what: str, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Real numbers as an array of a floating type; what is too large for it becomes Inf, which is
    refused.
    """
    with np.errstate(over="ignore"):
        return np.asarray(_plain(given, what), dtype=dtype)
