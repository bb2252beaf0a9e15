"""Which files of a folder are a series, and which of them cannot be used; nothing is left out
without a word.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aberra.errors import InputError, shortlist
from aberra.files import reading
from aberra.io.dicom.header import Header, is_dicom, parse

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 352
"""Bytes that tell a file's format."""

SLICE_SUFFIXES = {".dcm", ".dicom", ".ima"}

HARMLESS = {"readme", "version", "changes", "changelog", "license", "lockfile", "manifest", "notes", "info"}
"""Names without suffix that lie beside slices and are none, whatever is in them."""

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass
class Listing:
    """What lies in a folder of slices.

    Attributes:
        dicom: files that are DICOM by their first bytes.
        broken: files that lie where a slice is expected and cannot be one, with the reason.
        others: the rest.
    """

    dicom: list[Path] = field(default_factory=list)
    broken: dict[Path, str] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)


@dataclass
class Series:
    """One series.

    Attributes:
        slices: its image files with their headers.
        warnings: what was left out and what seems to be missing.
    """

    slices: list[Header]
    warnings: list[str] = field(default_factory=list)


def listing(folder: Path) -> Listing:
    """Sort a folder's files by their first bytes; hidden files and subfolders are left out.

    Raises:
        InputError: the folder cannot be read.
    """
    with reading(folder):
        entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    heads: dict[Path, bytes] = {}
    reasons: dict[Path, str] = {}
    for path in entries:
        try:
            if not path.is_dir():
                heads[path] = _head(path)
        except OSError as error:
            heads[path], reasons[path] = b"", f"cannot be read ({error.strerror})"
    found = Listing(dicom=[path for path, head in heads.items() if is_dicom(head)])
    expected = SLICE_SUFFIXES | {_suffix(path) for path in found.dicom if path.name.upper() != "DICOMDIR"}
    counted = {_pattern(path) for path in found.dicom}
    for path in sorted(heads.keys() - set(found.dicom)):
        like_a_slice = _suffix(path) in expected and path.stem.lower() not in HARMLESS
        if _pattern(path) in counted or (like_a_slice and not _is_note(path, heads[path])):
            found.broken[path] = reasons.get(path, "is no DICOM file" if heads[path] else "is empty")
        else:
            found.others.append(path)
    return found


def is_series(found: Listing) -> bool:
    """Whether a folder is to be read as a series: it holds a DICOM image, or files that should have
    been one.
    """
    return bool(found.broken) or any(_is_image(file) for file in found.dicom)


def series_of(file: Path) -> str:
    """Identifier of the series that a file belongs to.

    Raises:
        InputError: the file cannot be read.
    """
    return Header(parse(file, whole=False), file).text("SeriesInstanceUID")


def series_files(path: Path) -> list[Path]:
    """Every file that reading a series opens for its sake: all in a folder, or those of the series
    that a file is of.

    Files that make the series unreadable are among them.

    Raises:
        InputError: the folder or the file cannot be read.
    """
    found = listing(path if path.is_dir() else path.parent)
    if path.is_dir():
        return sorted([*found.dicom, *found.broken])
    wanted = series_of(path)
    return sorted([*(each for each in found.dicom if _belongs(each, wanted)), *found.broken])


def read_series(path: Path, *, whole: bool = True) -> Series:
    """Read the headers of the one series in a folder, or of the series that a file belongs to.

    Args:
        path: folder or file.
        whole: read pixels, too.

    Raises:
        InputError: several series, no image, or files that cannot be used where slices are
            expected.
    """
    folder = path if path.is_dir() else path.parent
    found = listing(folder)
    if path in found.broken:
        raise InputError(f"{path}: {found.broken[path]}; copy it again")
    if found.broken:
        raise InputError(
            f"{folder}: {len(found.broken)} file(s) where slices are expected cannot be used: "
            f"{shortlist(f'{file.name}: {why}' for file, why in found.broken.items())}; copy the series again, "
            "or move what does not belong to it"
        )
    wanted = None if path.is_dir() else series_of(path)
    headers = [Header(parse(file, whole=whole), file) for file in found.dicom]
    if wanted is not None:
        headers = [each for each in headers if _may_be_of(each, wanted)]
    images = [each for each in headers if _has_pixels(each)]
    without = [each for each in headers if each not in images]
    cut = [each for each in without if not _is_other_object(each)]
    if not images:
        why = f" ({cut[0].file.name}: an image that is cut off before its pixels)" if cut else ""
        raise InputError(f"{path}: DICOM files without images{why}; choose the folder of an image series")
    if cut:
        raise InputError(
            f"{folder}: {len(cut)} file(s) are cut off before their pixels: {shortlist(each.file.name for each in cut)}; "
            "copy the series again"
        )
    _one_series(path, images)
    warnings = []
    if without:
        names = shortlist(f"{each.file.name} ({_class_of(each).name})" for each in without)
        warnings.append(f"{len(without)} DICOM object(s) without an image left out: {names}")
    return Series(images, warnings + missing_slices(images))


def _one_series(path: Path, images: list[Header]) -> None:
    """Refuse several series, with an example of each."""
    uids = [each.text("SeriesInstanceUID") or "none" for each in images]
    if len(set(uids)) > 1:
        listed = "; ".join(
            f"{uid} ({count} files), as {images[uids.index(uid)].file.name}"
            for uid, count in Counter(uids).most_common()
        )
        raise InputError(
            f"{path}: {len(set(uids))} series in one folder: {listed}. Give one folder a series, or a file of the one you mean"
        )


def missing_slices(images: list[Header]) -> list[str]:
    """Warnings where the headers count other slices than there are: a loss at the ends leaves no
    gap.
    """
    notes = []
    numbers = sorted({number for each in images if (number := _whole(each, "InstanceNumber")) is not None})
    if len(numbers) == len(images) > 1:
        begin = min(1, numbers[0])
        absent = numbers[-1] - begin + 1 - len(numbers)
        if 0 < absent < len(numbers):  # else they count something else
            missing = sorted(set(range(begin, numbers[-1])).difference(numbers))
            notes.append(
                f"the slices are numbered {numbers[0]} to {numbers[-1]}, but {absent} number(s) are not there "
                f"({shortlist(map(str, missing))}); are slices missing?"
            )
    for name in ("ImagesInAcquisition", "NumberOfSlices"):
        told = {_whole(each, name) for each in images}
        count = told.pop() if len(told) == 1 else None
        if count is not None and len(images) < count:
            notes.append(
                f"the header counts {count} slices ({name}), {len(images)} are here; are slices missing?"
            )
            break
    return notes


def _whole(header: Header, name: str) -> int | None:
    """A whole number that only warns; None where it is none."""
    try:
        return header.integer(name)
    except InputError:
        return None


def _is_image(file: Path) -> bool:
    """Whether a DICOM file is an image, or damaged so that it may have been one."""
    try:
        header = Header(parse(file, whole=False), file)
        return _has_pixels(header) or not _is_other_object(header)
    except InputError:
        return True


def _belongs(file: Path, series: str) -> bool:
    """Whether a file is of a series, or damaged so that it may be."""
    try:
        return _may_be_of(Header(parse(file, whole=False), file), series)
    except InputError:
        return True


def _may_be_of(header: Header, series: str) -> bool:
    """Whether an object is of a series, or is an image that is cut off before it says so."""
    told = header.text("SeriesInstanceUID")
    return told == series or not (told or _has_pixels(header) or _is_other_object(header))


def _has_pixels(header: Header) -> bool:
    return any(name in header.dataset for name in PIXELS)


def _is_other_object(header: Header) -> bool:
    """Whether an object without pixels is of a kind that has none (DICOMDIR, report, ...), not an
    image that is cut off.
    """
    if header.get("Rows") is not None:
        return False
    kind = _class_of(header)
    if kind.name == kind:  # of a vendor's own; an identifier that is cut off ends its file
        return bool(header.text("SeriesInstanceUID"))
    return "Image Storage" not in kind.name


def _class_of(header: Header) -> Any:
    from pydicom.uid import UID

    return UID(header.text("SOPClassUID") or header.meta("MediaStorageSOPClassUID"))


def _is_note(path: Path, head: bytes) -> bool:
    """Whether a file is a text that nobody calls a slice."""
    if not head or path.suffix.lower() in SLICE_SUFFIXES:
        return False
    try:
        text = (head[:-3] if len(head) == HEAD else head).decode()  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _suffix(path: Path) -> str:
    """A suffix in lower case; numbers, as names made of identifiers end with, count as none."""
    suffix = path.suffix.lower()
    return "" if re.fullmatch(r"\.\d+", suffix) else suffix


def _pattern(path: Path) -> str:
    """A name whose numbers count for nothing, as slices have in common; names without numbers have
    nothing in common.
    """
    found, numbers = re.subn(r"\d+", "#", path.name.lower())
    return found if numbers else path.name


def _head(path: Path) -> bytes:
    """The first bytes of a regular file."""
    if not path.is_file():
        path.stat()  # says why: a link to nothing, no permission
        raise OSError(0, "not a file")
    with path.open("rb") as file:
        return file.read(HEAD)
