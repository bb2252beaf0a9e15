"""What an input is: its format, told by content, and the files that reading it reads."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import time
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from aberra.errors import InputError
from aberra.files import config_hash, file_hash, reading
from aberra.io.dicom.header import is_dicom
from aberra.io.dicom.series import HEAD, listing, series_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import stat_result

T = TypeVar("T")
Format = Literal["nifti", "dicom", "image", "minc"]

GZIP = b"\x1f\x8b"

IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")

HDF5 = b"\x89HDF\r\n\x1a\n"

MINC_MAGIC = (b"CDF\x01", b"CDF\x02")
"""NetCDF, in which MINC 1 is written."""

SUFFIXES = (
    ".nii.gz", ".nii", ".mnc.gz", ".mnc", ".png", ".jpeg", ".jpg", ".tiff", ".tif", ".dcm", ".hdr.gz", ".hdr", ".img.gz", ".img",
)  # fmt: skip

ZIPPED: dict[str, Format] = {".nii.gz": "nifti", ".hdr.gz": "nifti", ".mnc.gz": "minc"}
"""Formats that are read gzipped, by name."""

FRESH = 2.0
"""Seconds in which a file may change again without another time stamp: file systems keep it that
coarsely."""


def sniff(path: Path | str) -> Format:
    """Tell a scan's format from its first bytes; a folder is a DICOM series if it holds a DICOM
    file.

    Raises:
        InputError: missing, empty, unreadable or of no known format.
    """
    path = Path(path)
    if what_is(path) == "folder":
        found = listing(path)
        if found.dicom:
            return "dicom"
        for file, why in found.broken.items():
            raise InputError(f"{file}: {why}; copy the series again")
        raise InputError(
            f"{path}: a folder without DICOM files; give scan files, a DICOM folder or a folder of scans"
        )
    kind = sniff_file(path)
    if kind is None:
        raise InputError(f"{path}: not a NIfTI, MINC, DICOM, PNG, JPEG or TIFF file; convert it first")
    return kind


def is_scan(path: Path | str) -> bool:
    """Whether a file or folder can be read as one scan, judged by its first bytes."""
    return attempt(sniff, Path(path)) is not None


def sniff_file(path: Path) -> Format | None:
    """Tell the format of a file, None if it is none of ours; a pair's data file is as its header.

    Raises:
        InputError: missing, empty, unreadable, half of a pair, or ANALYZE.
    """
    if what_is(path) == "other":
        raise InputError(f"{path}: neither a file nor a folder; give a scan")
    header = header_of(path)
    if header != path and not is_there(header):
        header = path
    head = _first_bytes(header)
    zipped = head.startswith(GZIP)
    kind = _zipped(header) if zipped else _kind(head)
    if zipped or kind is not None:
        return kind
    if head.startswith(HDF5) and header.suffix.lower() == ".mnc":
        raise InputError(
            f"{path}: MINC 2 is not read; convert it (mincconvert {path.name} minc1.mnc, or mnc2nii)"
        )
    if header.suffix.lower() == ".hdr" and 348 in {
        int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"),
    }:  # fmt: skip
        raise InputError(
            f"{header}: an ANALYZE header, which does not say where left and right are; convert it to NIfTI"
        )
    if header_of(path) != header:
        raise InputError(
            f"{path}: its header {header_of(path).name} is missing; put it beside, or convert both to .nii"
        )
    return None


def files_of(path: Path | str) -> list[Path]:
    """Every file that reading an input reads, links resolved: both of a NIfTI pair, all of a DICOM
    series, else the file itself.

    What cannot be read stands for itself.
    """
    path = Path(path)
    found = [path]
    try:
        kind = sniff(path)
        if kind == "dicom":
            found = series_files(path)
        elif kind == "nifti" and (data := data_of(header_of(path))) is not None:
            found = [header_of(path), data]
    except InputError:
        pass
    return [real(each) for each in found]


def input_hash(path: Path | str) -> str:
    """Hash of all bytes of an input; neither its name nor the order of its files matters.

    Raises:
        InputError: a file of it cannot be read.
    """
    files = files_of(path)
    try:
        with reading(path):
            parts = [_hash(file) for file in files]
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return parts[0] if len(parts) == 1 else config_hash(sorted(parts))


def header_of(path: Path) -> Path:
    """The header's file of a NIfTI pair, whichever of both is given; any other path as it is."""
    return _partner(path, ".img", ".hdr") or path


def data_of(header: Path) -> Path | None:
    """The data file of a NIfTI pair; None for any file that is not the header of one."""
    return _partner(header, ".hdr", ".img")


def is_pair_data(path: Path) -> bool:
    """Whether a file is the data of a NIfTI pair whose header lies beside it."""
    header = header_of(path)
    return header != path and is_there(header)


def _partner(path: Path, own: str, other: str) -> Path | None:
    """The other file of a pair, spelt as this one: ``.hdr`` for ``.img``, ``.HDR.gz`` for
    ``.IMG.gz``.
    """
    zipped = path.suffix if path.suffix.lower() == ".gz" else ""
    inner = path.name.removesuffix(zipped)
    stem, suffix = inner[: -len(own)], inner[-len(own) :]
    if suffix.lower() != own or not stem:
        return None
    return path.with_name(stem + (other.upper() if suffix.isupper() else other) + zipped)


def what_is(path: Path) -> Literal["file", "folder", "other"]:
    """What lies at a path.

    Raises:
        InputError: nothing, or it cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        gone = f"a link to {path.readlink()}, which is not there" if path.is_symlink() else "no such file"
        raise InputError(f"{path}: {gone}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', '') or error})") from error
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def is_there(path: Path) -> bool:
    """Whether a file or folder lies at a path and may be looked at."""
    return attempt(what_is, path) is not None


def attempt(look: Callable[[Path], T], path: Path) -> T | None:
    """What there is to see at a path; None where looking is an InputError."""
    try:
        return look(path)
    except InputError:
        return None


def real(path: Path) -> Path:
    """A path with its links followed, as far as they lead."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a name that no file can have
        return path


def _first_bytes(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise InputError(f"{path}: the file is empty; copy it again")
    return head


def _inside(path: Path) -> bytes:
    """The first bytes of what is zipped in a file, fewer if it is damaged."""
    try:
        with gzip.open(path) as stream:
            return stream.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _kind(head: bytes) -> Format | None:
    """The format of a file that begins so."""
    if is_dicom(head):  # before images: a preamble may look like a TIFF's
        return "dicom"
    if _is_nifti(head):
        return "nifti"
    if head.startswith(MINC_MAGIC):
        return "minc"
    return "image" if head.startswith(IMAGE_MAGIC) else None


def _zipped(path: Path) -> Format | None:
    """The format of what is gzipped in a file; what its name says if the content is damaged, so that
    the reader says what is wrong with it.
    """
    found = _kind(_inside(path))
    if found in set(ZIPPED.values()):
        return found
    return next((kind for end, kind in ZIPPED.items() if path.name.lower().endswith(end)), None)


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in {b"n+1\x00", b"ni1\x00"} or head[4:8] in {b"n+2\x00", b"ni2\x00"}


def _hash(file: Path) -> str:
    """Hash a file's bytes, remembered while nothing about the file changes."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "not a file", str(file))
    age = time.time() - max(status.st_mtime, status.st_ctime)
    if age < FRESH:
        return file_hash(file)
    return _remembered_hash(file, _stamp(status))


def _stamp(status: stat_result) -> tuple[int, ...]:
    """What another content changes: the time of the last change of state cannot be set back, as the
    file's time can.
    """
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=100_000)
def _remembered_hash(file: Path, stamp: tuple[int, ...]) -> str:
    del stamp
    return file_hash(file)
