"""NIfTI-1 and NIfTI-2, single files and pairs, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.files import atomic_path
from aberra.io.nifti_header import BYTES, LONGEST, Header, parse
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK = 1 << 20
SLAB_VOXELS = 1 << 22
"""Voxels scaled at once: bounds the working memory in float64."""

LARGEST = 1e18
"""Of intensities: their squares fit into float32."""

EXPANSION = 1032
"""How much deflate makes of one byte at most."""


def read_nifti(path: Path, channel: str) -> Volume:
    """Read a single-channel NIfTI on its own grid; D, H, W are the file's i, j, k.

    Scaling (``scl_slope``, ``scl_inter``) is applied. The affine is the sform, else the qform, else
    the spacing alone (with a warning), in mm whatever the header's unit. Trailing axes of length 1
    are left out; ``provenance["shape"]`` keeps them.

    Raises:
        InputError: damaged, more than three dimensions, colour or complex, NaN or Inf, a spacing
            that no scan has.
    """
    try:
        header = read_header(path)
    except InputError:
        _content(path, 0)  # a damaged file is called damaged, whatever its header has become
        raise
    data = _voxels(path, header)
    check_finite(path, data)
    return Volume(
        data=data[None],
        affine=header.affine,
        channels=(channel,),
        provenance={
            "path": str(path),
            "format": "nifti",
            "kind": "image" if 1 in header.grid else "volume",
            "dtype": str(header.dtype.newbyteorder("=")),
            "shape": list(header.shape),
            "warnings": header.warnings,
        },
    )


def read_header(path: Path) -> Header:
    """Read the header alone.

    Raises:
        InputError: it is none, or none of a single real-valued volume or slice.
    """
    try:
        with _opened(path) as stream:
            head = stream.read(LONGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    return parse(path, head)


def geometry(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Grid (D, H, W) and affine in mm of a NIfTI, as :func:`read_nifti` would give them; only the
    header is read.

    Raises:
        InputError: as for :func:`read_header`.
    """
    header = read_header(path)
    return header.grid, header.affine


def write_nifti(volume: Volume, path: Path) -> None:
    """Write float32 (a ``mask`` channel: uint8) with sform and qform in mm, atomically.

    One channel becomes a 3-D file, several a 4-D file; one channel on the grid of a NIfTI that was
    read has that file's shape, with as many axes of length 1. The same volume gives the same bytes.
    """
    import nibabel as nib

    data: NDArray[Any] = np.moveaxis(volume.data, 0, -1)
    if len(volume.channels) == 1:
        own = tuple(volume.provenance.get("shape", volume.shape))
        fits = (*own, 1, 1)[:3] == volume.shape
        data = volume.data[0].reshape(own if fits else volume.shape)
    if volume.channels == ("mask",):
        data = data.astype(np.uint8)
    image = nib.Nifti1Image(data, volume.affine)
    if max(data.shape) > np.iinfo(np.int16).max:
        image = nib.Nifti2Image(data, volume.affine)
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1, strip_shears=True)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    with atomic_path(path) as temporary:
        if path.suffix == ".gz":
            content = gzip.compress(content, compresslevel=4, mtime=0)
        temporary.write_bytes(content)


def _voxels(path: Path, header: Header) -> NDArray[np.float32]:
    """The voxels (D, H, W) with their scaling, after checking that the file holds these and no
    others.
    """
    needed = header.voxels * header.dtype.itemsize
    begin = LONGEST if header.offset is None else header.offset
    content, total = _content(header.data, begin + needed)
    if header.offset is None:
        # some programs write 0 and mean: behind the header, with or without the four bytes that
        # tell of extensions
        begin = total - needed
        if begin not in {place for pair in BYTES.items() for place in pair}:
            raise InputError(
                f"{path}: the header says that the voxels begin inside it (vox_offset); copy or convert the file again"
            )
    surplus = total - begin - needed
    what = f"{' × '.join(map(str, header.shape))} voxels of {header.dtype.itemsize} byte(s)"
    if surplus < 0:
        raise InputError(
            f"{path}: {-surplus:,} bytes are missing of {what}; the file is cut off or damaged, copy it again"
        )
    if surplus >= needed // max(header.grid):  # as much as a wrong dimension would leave over
        raise InputError(
            f"{path}: {surplus:,} bytes more than {what} follow the header; its dimensions or data type are wrong, convert the file again"
        )
    if surplus:
        header.warnings.append(f"{path.name}: {surplus:,} bytes behind the voxels are left out")
    raw = np.ndarray(header.grid, header.dtype, content.data, begin, order="F")
    return scaled(raw, header.slope, header.inter)


def scaled(raw: NDArray[Any], slope: float, inter: float) -> NDArray[np.float32]:
    """Stored numbers (D, H, W) as intensities: stored · slope + inter, float32.

    Slope and inter are rounded themselves, so that a stored background may miss 0 by that rounding;
    it is 0.
    """
    data = np.empty(raw.shape, dtype=np.float32, order="F")
    rounding = 2.0**-22 * abs(inter)
    if raw.dtype.kind in "iu":
        rounding = min(rounding, 0.49 * abs(slope))  # two stored numbers are never one
    step = max(1, SLAB_VOXELS // max(1, raw.shape[0] * raw.shape[1]))
    with np.errstate(over="ignore"):  # beyond float32: Inf, which is refused
        for start in range(0, raw.shape[2], step):
            part = raw[..., start : start + step]
            if (slope, inter) != (1.0, 0.0):
                part = part.astype(np.float64) * slope + inter
                part[np.abs(part) <= rounding] = 0
            data[..., start : start + step] = part
    return data


def _content(path: Path, limit: int) -> tuple[NDArray[np.uint8], int]:
    """The first ``limit`` bytes of a file as it is unpacked, and how many bytes it has.

    A gzipped file is read to its end, since its checksum stands there.
    """
    try:
        size = path.stat().st_size
        with _opened(path) as stream:
            if not isinstance(stream, gzip.GzipFile):
                return np.fromfile(stream, dtype=np.uint8, count=min(limit, size)), size
            content = np.empty(min(limit, EXPANSION * size), dtype=np.uint8)
            view, total = content.data, 0
            while part := stream.readinto(view[total : total + BLOCK]):
                total += part
            while block := stream.read(BLOCK):
                total += len(block)
            return content[:total], total
    except MemoryError as error:
        raise InputError(
            f"{path}: {limit / 2**30:,.0f} GiB of voxels do not fit into memory; is the header damaged?"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error


def unpacked(path: Path) -> bytes:
    """All bytes of a plain or gzipped file.

    Raises:
        InputError: it cannot be read or unpacked.
    """
    try:
        with _opened(path) as stream:
            content: bytes = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    return content


def _opened(path: Path) -> Any:
    """A binary stream of a plain or gzipped file."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def _damaged(path: Path, error: Exception) -> InputError:
    """Say what a file that cannot be unpacked is."""
    if isinstance(error, EOFError):
        reason = "it ends too early"
    elif isinstance(error, zlib.error | gzip.BadGzipFile):
        reason = f"its checksum or compression is wrong: {error}"
    else:
        return InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', error)}); check the file and its permissions"
        )
    return InputError(
        f"{path}: the data cannot be read ({reason}); the file is cut off or damaged, copy it again"
    )


def check_finite(path: Path, data: NDArray[np.float32]) -> None:
    """Refuse NaN and Inf, with their counts, and numbers that no scan has.

    Raises:
        InputError: there are some.
    """
    low, high = float(data.min(initial=0)), float(data.max(initial=0))
    if max(-low, high) <= LARGEST:  # false with NaN, too
        return
    nan, inf = int(np.isnan(data).sum()), int(np.isinf(data).sum())
    if not nan + inf:
        raise InputError(
            f"{path}: values from {low:.3g} to {high:.3g}, which no scan has; are data type and byte order in the header right?"
        )
    raise InputError(
        f"{path}: {nan:,} NaN and {inf:,} Inf voxels; replace them (often the background) before use"
    )
