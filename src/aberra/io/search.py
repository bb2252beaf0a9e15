"""Scans in folders, and the names of their cases."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from aberra.errors import InputError, shortlist
from aberra.io.dicom.series import is_series, listing, series_files, series_of
from aberra.io.files import (
    SUFFIXES,
    attempt,
    data_of,
    header_of,
    is_pair_data,
    is_there,
    real,
    sniff_file,
    what_is,
)
from aberra.output import holds_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FOREIGN = (
    ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".dcm.gz",
    ".nii.bz2", ".nii.xz", ".nii.zst", ".zip", ".tar", ".tar.gz", ".tgz",
)  # fmt: skip
"""Names that scans have in formats that are not read, or packed."""

ELSEWHERE = {"derivatives", "sourcedata"}
"""Folders of a BIDS dataset that hold others than its own scans."""

POINTERS = (b"/annex/objects/", b"version https://git-lfs")
"""What stands in a file whose content was not fetched."""


def find_scans(folder: Path | str, warnings: list[str] | None = None) -> list[tuple[str, Path]]:
    """List the scans below a folder: every NIfTI and image file, and every folder of DICOM images.

    Linked folders are followed. A file that is named like a scan but cannot be one is listed, so
    that reading it says why; other files that are no scans are left out. Beside the slices of a
    DICOM series nothing else counts.

    Args:
        folder: where to look.
        warnings: gets a line for everything left out that may be missed.

    Returns:
        Names fit for folders, and paths, sorted by path.

    Raises:
        InputError: the folder cannot be read.
    """
    folder = Path(folder)
    notes = _Notes(folder)
    found: list[tuple[str, Path]] = []
    for place, files in _walk(folder, notes):
        if _is_series(place, files, notes):
            inner = place.relative_to(folder)
            found.append((case_name(inner if inner.parts else Path(folder.absolute().name)), place))
        else:
            found += [
                (case_name(file.relative_to(folder)), file) for file in files if _is_wanted(file, notes)
            ]
    if warnings is not None:
        warnings += notes.lines()
    return sorted(found, key=lambda each: each[1])


def distinct(paths: Sequence[Path]) -> list[list[Path]]:
    """Group given paths that are one input: several files of one DICOM series, or both files of a
    NIfTI pair.
    """
    groups: dict[object, list[Path]] = {}
    for index, path in enumerate(paths):
        groups.setdefault(_whose(path) or index, []).append(path)
    return list(groups.values())


def named(groups: Sequence[Sequence[Path]], warnings: list[str]) -> list[tuple[str, Path]]:
    """Name each group of files after its file, or after the folder of its series.

    Args:
        groups: of files that are one input each.
        warnings: gets a line where only some files of a series were given: all are read.
    """
    found = []
    folders = [real(group[0]).parent for group in groups if len(group) > 1]
    for group in groups:
        first, several = group[0], len(group) > 1
        name = case_name(Path(first.name or first.absolute().name))
        if several and sniff_file(first) == "dicom":
            folder = real(first).parent
            name = case_name(
                Path(folder.name) if folders.count(folder) == 1 else Path(folder.name, first.name)
            )
            whole = len(series_files(first))
            if len({real(path) for path in group}) < whole:
                warnings.append(
                    f"{first.parent}: {len(group)} of {whole} files of one series were given, the whole series is read; "
                    "to leave slices out, copy the others to a folder"
                )
        found.append((name, first))
    names = [name for name, _ in found]
    for index, (name, path) in enumerate(found):
        if names.count(name) > 1 and _whose(path):
            found[index] = case_name(Path(real(path).parent.name, path.name)), path
    return found


def case_name(path: Path) -> str:
    """Turn a relative path into a name fit for a folder: ``sub-1/t1.nii.gz`` to ``sub-1_t1``."""
    text = "_".join(path.parts)
    for suffix in SUFFIXES:
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
    return re.sub(r"[^\w.+-]", "_", text).lstrip(".") or "scan"


class _Notes:
    """What a search leaves out, by reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[tuple[str, str], list[str]] = {}

    def add(self, what: str, remedy: str, paths: Iterable[Path]) -> None:
        names = [str(path.relative_to(self.folder)) for path in paths]
        if names:
            self.found.setdefault((what, remedy), []).extend(names)

    def lines(self) -> list[str]:
        """One line a reason."""
        return [
            f"{self.folder}: {len(names)} {what} left out ({shortlist(names)}); {remedy}"
            for (what, remedy), names in self.found.items()
        ]


def _walk(root: Path, notes: _Notes) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder with its files, hidden ones left out; real folders first, then what links lead
    to, nothing twice.
    """
    seen: set[Path] = set()
    folders: list[Path] = [root]
    links: list[Path] = []
    while folders or links:
        place = folders.pop(0) if folders else links.pop(0)
        if real(place) in seen or (place != root and real(root).is_relative_to(real(place))):
            notes.add("link(s) to folders that are searched already", "nothing to do", [place])
            continue
        seen.add(real(place))
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            if place == root:
                raise InputError(f"{root}: cannot be read ({error.strerror})") from error
            notes.add(f"folder(s) that cannot be read ({error.strerror})", "allow reading them", [place])
            continue
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        inner = [place / entry.name for entry in visible if entry.is_dir(follow_symlinks=False)]
        linked = [place / entry.name for entry in visible if entry.is_symlink()]
        linked = [path for path in linked if attempt(what_is, path) == "folder"]
        apart = {*inner, *linked}
        files = [path for entry in visible if (path := place / entry.name) not in apart]
        inner, linked = ([path for path in paths if not holds_output(path)] for paths in (inner, linked))
        if place / "dataset_description.json" in files:
            others = [path for path in (*inner, *linked) if path.name.lower() in ELSEWHERE]
            notes.add("BIDS folder(s) of other data", "give them by themselves to have them scored", others)
            inner, linked = ([path for path in paths if path not in others] for paths in (inner, linked))
        folders, links = inner + folders, links + linked
        yield place, files


def _is_series(place: Path, files: Sequence[Path], notes: _Notes) -> bool:
    """Whether a folder is read as a series; notes what lies in it beside slices, or DICOM objects
    that are no images.
    """
    found = listing(place)
    if not found.dicom and (
        all(_leads_nowhere(file) for file in found.broken)
        or any(attempt(sniff_file, file) for file in found.others)
    ):
        return False
    if is_series(found):
        beside = [file for file in files if file in found.others and attempt(sniff_file, file) == "nifti"]
        notes.add("NIfTI file(s) beside DICOM slices", "give them a folder of their own", beside)
        return True
    notes.add("DICOM object(s) without an image", "nothing to do", found.dicom)
    return False


def _is_wanted(file: Path, notes: _Notes) -> bool:
    """Whether a file outside a series is listed."""
    name = file.name.lower()
    scan_like = name.endswith(SUFFIXES)
    if scan_like and (_leads_nowhere(file) or _is_pointer(file)):
        notes.add(
            "file(s) whose content is not here", "fetch it (datalad get, git annex get, git lfs pull)", [file]
        )
        return False
    if is_pair_data(file):
        return False
    try:
        kind = sniff_file(file)
    except InputError:
        return scan_like
    if kind is None and name.endswith(FOREIGN):
        notes.add("file(s) of formats that are not read", "convert or unpack them", [file])
        return False
    return scan_like if kind is None else kind != "dicom"


def _leads_nowhere(file: Path) -> bool:
    return file.is_symlink() and not is_there(file)


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(max(POINTERS, key=len))).startswith(POINTERS)
    except OSError:
        return False


def _whose(path: Path) -> object:
    """What several files are one input by: the series or the pair; None for a file that stands for
    itself.
    """
    try:
        kind = None if what_is(path) == "folder" else sniff_file(path)
        if kind == "dicom":
            return real(path).parent, series_of(path)
    except (OSError, InputError):
        return None
    header = header_of(path)
    return real(header) if kind == "nifti" and data_of(header) is not None else None
