"""The header of a NIfTI-1 or -2, checked, with its grid in millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.volume import invertible

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BYTES = {348: 352, 540: 544}
"""Size of a header to where the voxels of a single file begin at the earliest: four bytes tell of
extensions."""

LONGEST = max(BYTES.values())

DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
REFUSED = {
    1: "one-bit data", 32: "complex data", 128: "colour (RGB) data", 1536: "128-bit float data", 1792: "complex data",
    2048: "complex data", 2304: "colour (RGB) data",
}  # fmt: skip
"""Data types without one real number a voxel that reads alike everywhere."""

UNITS = {1: ("metre", 1000.0), 3: ("micron", 1e-3)}
"""``xyzt_units`` that are not millimetres; an unknown unit counts as millimetres, as in other
programs."""

FINEST_MM, COARSEST_MM = 0.01, 100.0
"""Voxels of a volume are not smaller or larger; a single slice may be as fine as it likes."""

FARTHEST_MM = 1e6
"""From the scanner's centre; farther off, millimetres are lost in rounding."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a NIfTI header says.

    Attributes:
        shape: as the file has it, one to seven axes.
        grid: (D, H, W); axes that are not there have length 1.
        affine: index to mm in RAS+ scanner space, shape (4, 4).
        dtype: of the stored voxels.
        slope, inter: value = stored · slope + inter.
        offset: where the voxels begin; None in a single file whose header names a place inside the
            header.
        data: file of the voxels.
        warnings: what a reader must know.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int, int]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    slope: float
    inter: float
    offset: int | None
    data: Path
    warnings: list[str] = field(default_factory=list)

    @property
    def voxels(self) -> int:
        """How many there are."""
        d, h, w = self.grid
        return d * h * w


def parse(path: Path, head: bytes) -> Header:
    """Read a header's bytes.

    Args:
        path: of the header, for messages and to find the voxels of a pair.
        head: its first :data:`LONGEST` bytes.

    Raises:
        InputError: no NIfTI header, or one that no single real-valued volume or slice can have.
    """
    header, single = _fields(path, head)
    shape, grid = _shape(path, header)
    code = int(header["datatype"])
    if code not in DTYPES:
        raise InputError(
            f"{path}: {REFUSED.get(code, f'unknown data type {code}')}; expected one real number a voxel. "
            "Export the greyscale or magnitude image, as 16-bit integers or 32-bit float"
        )
    with np.errstate(all="ignore"):  # numbers that no scanner writes are refused, without numpy's remarks
        affine, warnings = _affine(path, header, grid)
    slope, inter = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    if slope == 0 or np.isnan(slope):  # both mean: not scaled
        slope, inter = 1.0, 0.0
    if not np.isfinite([slope, inter]).all():
        raise InputError(
            f"{path}: intensities are scaled by {slope:g} and moved by {inter:g}; correct scl_slope and scl_inter"
        )
    return Header(
        shape=shape,
        grid=grid,
        affine=affine,
        dtype=np.dtype(DTYPES[code]).newbyteorder(header.endianness),
        slope=slope,
        inter=inter,
        offset=_offset(path, header, head, single=single),
        data=path if single else _partner(path),
        warnings=warnings,
    )


def _fields(path: Path, head: bytes) -> tuple[Any, bool]:
    """The header's fields, and whether the voxels are in the same file."""
    import nibabel as nib

    for order in "<>":
        size = int(np.frombuffer(head[:4].ljust(4, b"\0"), dtype=f"{order}i4")[0])
        if size not in BYTES or len(head) < size:
            continue
        magic = head[344:348] if size == 348 else head[4:8]
        kind = {b"n+1\0": 348, b"ni1\0": 348, b"n+2\0": 540, b"ni2\0": 540}.get(magic)
        if kind != size:
            continue
        cls = nib.Nifti1Header if size == 348 else nib.Nifti2Header
        header: Any = cls(head[:size], endianness=order, check=False)
        if abs(header["pixdim"][0]) != 1:  # the standard reads anything else as 1
            header["pixdim"][0] = 1
        return header, magic[1:2] == b"+"
    raise InputError(
        f"{path}: not a readable NIfTI file (no NIfTI header at its beginning); copy or convert it again"
    )


def _shape(path: Path, header: Any) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """The file's own shape, and it as D, H, W."""
    count = int(header["dim"][0])
    shape = tuple(int(length) for length in header["dim"][1 : 1 + count])
    if not 1 <= count <= 7 or min(shape) < 1:
        raise InputError(
            f"{path}: the header's dimensions {header['dim'].tolist()} are none; the file is damaged, copy or convert it again"
        )
    if any(length > 1 for length in shape[3:]):
        raise InputError(
            f"{path}: {count} dimensions {shape}; expected one 3-D volume. Split time points or channels into files of their own"
        )
    d, h, w = (*shape, 1, 1)[:3]
    if (d, h, w).count(1) > 1:
        raise InputError(f"{path}: a line of voxels {shape}; expected a volume or one slice")
    return shape, (d, h, w)


def _affine(path: Path, header: Any, grid: tuple[int, int, int]) -> tuple[NDArray[np.float64], list[str]]:
    """Index to mm: the sform, else the qform, else the spacing alone; and what is wrong with them."""
    own = np.array(grid) > 1
    stored = header["pixdim"][1:4].astype(float)
    if not np.isfinite(stored[own]).all() or (stored[own] <= 0).any():
        raise InputError(
            f"{path}: voxel spacing {' × '.join(f'{step:g}' for step in stored)} mm; all must be above zero. Fix the header's pixdim"
        )
    unit, factor = UNITS.get(int(header["xyzt_units"]) & 7, ("mm", 1.0))
    given, broken = {}, []
    for name in ("sform", "qform"):
        if int(header[f"{name}_code"]) > 0:
            found = _transform(header, name, grid)
            if found is None:
                broken.append(name)
            else:
                given[name] = _in_mm(found, factor)
    if broken and not given:
        raise InputError(
            f"{path}: {' and '.join(broken)} cannot be inverted, so where the voxels lie is not known; correct the header's orientation"
        )
    warnings = [
        f"{path.name}: the {name} cannot be inverted; the {other} is used"
        for name in broken
        for other in given
    ]
    if not given:
        warnings.append(
            "the header has no orientation (sform and qform codes are 0); left and right are not certain"
        )
    affine = next(iter(given.values()), None)
    if affine is None:
        affine = _in_mm(_completed(header.get_base_affine(), grid), factor)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if len(given) == 2 and (apart := _apart(given["sform"], given["qform"], grid)) > steps.max():
        warnings.append(
            f"{path.name}: sform and qform disagree by up to {apart:.1f} mm; the sform is used. Export it again, or copy the "
            "right transform over the other"
        )
    check_size(path, affine, own, unit)
    return affine, warnings


def check_size(path: Path, affine: NDArray[np.float64], own: NDArray[np.bool], unit: str) -> None:
    """Refuse voxels that are no scan's, and places where none lies; ``own`` are the axes longer
    than 1.
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    finest = FINEST_MM if own.all() else 0.0
    if steps[own].min() < finest or steps[own].max() > COARSEST_MM:
        raise InputError(
            f"{path}: voxels of {' × '.join(f'{step:.3g}' for step in steps)} mm, in the header as {unit}; expected "
            f"{FINEST_MM:g} to {COARSEST_MM:g} mm. Correct the header's spacing, or its unit (xyzt_units) if its numbers are in mm"
        )
    if np.abs(affine[:3, 3]).max() > FARTHEST_MM:
        raise InputError(
            f"{path}: the first voxel lies at {', '.join(f'{place:.3g}' for place in affine[:3, 3])} mm; correct the header's orientation"
        )


def _transform(header: Any, name: str, grid: tuple[int, int, int]) -> NDArray[np.float64] | None:
    """The sform or qform; None if it has no inverse."""
    try:
        found = _completed(getattr(header, f"get_{name}")(), grid)
    except Exception:  # noqa: BLE001 - a quaternion that is none, in nibabel's words
        return None
    return found if np.isfinite(found).all() and invertible(found) else None


def _in_mm(affine: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """In millimetres; metres are rounded to what float32 holds of them."""
    scaled = np.diag([factor, factor, factor, 1.0]) @ affine
    return scaled.round(5) if factor > 1 else scaled


def _completed(affine: NDArray[np.float64], grid: tuple[int, int, int]) -> NDArray[np.float64]:
    """With 1 mm across a slice whose header says 0: nothing lies in that direction."""
    affine = np.array(affine, dtype=float)
    for axis, length in enumerate(grid):
        if length == 1 and not affine[:3, axis].any():
            across = np.cross(affine[:3, axis - 2], affine[:3, axis - 1])
            affine[:3, axis] = across / np.maximum(np.linalg.norm(across), 1e-12)
    return affine


def _apart(a: NDArray[np.float64], b: NDArray[np.float64], grid: tuple[int, int, int]) -> float:
    """How far two transforms take the same corner of the grid from each other, in mm."""
    corners = np.array([*product(*((0, length - 1) for length in grid))])
    delta = (a - b)[:3]
    return float(np.abs(corners @ delta[:, :3].T + delta[:, 3]).max())


def _offset(path: Path, header: Any, head: bytes, *, single: bool) -> int | None:
    """Where the voxels begin."""
    stored = float(header["vox_offset"])
    if not np.isfinite(stored) or stored < 0 or stored != int(stored):
        raise InputError(
            f"{path}: the voxels begin at byte {stored:g} (vox_offset); copy or convert the file again"
        )
    size = int(header["sizeof_hdr"])
    if not single:
        return int(stored)
    if stored < BYTES[size]:
        return None
    if head[size : size + 1] > b"\0" and stored < BYTES[size] + 16:  # an extension has at least 16 bytes
        raise InputError(
            f"{path}: a header extension and the voxels both begin at byte {stored:g} (vox_offset); convert the file again"
        )
    return int(stored)


def _partner(path: Path) -> Path:
    """The voxels of a pair: ``scan.img`` for ``scan.hdr``, either of them gzipped or not."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.GZ"):
        partner = plain.with_suffix(suffix)
        if partner != path and partner.is_file():
            return partner
    raise InputError(
        f"{path}: half of a pair, whose voxels are in {plain.with_suffix('.img').name}, which is not there; copy both files"
    )
