"""From bytes that somebody sends to cases: NIfTI files, and zips of DICOM series.

Everything is written to a temporary folder and read once by aberra's own readers; only what could
be read gets a name and a place in the queue.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from time import time
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from sqlalchemy import func, select

from aberra.errors import AberraError, InputError, shortlist
from aberra.files import SCRATCH, writing
from aberra.io import case_name, find_scans, read, sniff
from aberra.server.audit import note
from aberra.server.tables import Case, Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aberra.server.database import Database
    from aberra.server.settings import Limits, Settings

BLOCK = 1 << 20
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
GZIP = b"\x1f\x8b"
FILES = "files"
"""In an upload's folder: what came, as it came."""


class TooLargeError(AberraError):
    """An upload holds more than the server takes."""


@dataclass(frozen=True)
class Scan:
    """One scan of an upload, its path relative to the upload's files."""

    name: str
    source: str


async def receive(stream: AsyncIterator[bytes], target: Path, limit: int) -> tuple[int, str]:
    """Write a request's body to a file as it comes.

    Returns:
        Bytes and SHA-256.

    Raises:
        TooLargeError: there are more than ``limit``.
        OutputError: the disk is full.
    """
    size, digest = 0, sha256()
    with writing(target), target.open("wb") as file:
        async for block in stream:
            size += len(block)
            if size > limit:
                raise TooLargeError(f"more than {limit // 1_000_000} MB; see --max-upload-mb")
            digest.update(block)
            file.write(block)
    return size, digest.hexdigest()


def unpack(sent: Path, name: str, files: Path, limits: Limits) -> list[Scan]:
    """Put what was sent in place and read every scan of it.

    Args:
        sent: the bytes; moved or left.
        name: what the sender calls it.
        files: an empty folder that takes the files.
        limits: what it may hold.

    Returns:
        The scans, one or more.

    Raises:
        InputError: it is no NIfTI file and no zip with scans, or one of them cannot be read.
        TooLargeError: it holds more than it may.
    """
    with sent.open("rb") as file:
        head = file.read(4)
    if head in {ZIP, EMPTY_ZIP}:
        _unzip(sent, files, limits)
        scans = _scans(files, limits)
    else:
        zipped = head.startswith(GZIP)
        if zipped:
            _expect_unpacked(sent, name, limits.unpacked)
        stem = case_name(Path(PurePosixPath(name.replace("\\", "/")).name))[:150]
        target = files / f"{stem}.nii{'.gz' if zipped else ''}"
        shutil.move(sent, target)
        if sniff(target) != "nifti":
            raise InputError(
                f"{name}: neither a NIfTI file nor a zip of DICOM files; send .nii, .nii.gz or .zip"
            )
        scans = [Scan(stem, target.name)]
    for scan in scans:
        read(files / scan.source)
    return scans


def insert(
    database: Database, scans: list[Scan], *, place: str, by: str, detector: str, sha: str, size: int
) -> list[int]:
    """Queue the scans of an upload; returns the cases' numbers.

    They go on behind the last of the audit trail, too: SQLite would give the number of a deleted case
    again, and the trail would tell of two.
    """
    now = time()
    with database.writing() as session:
        used = [session.scalar(select(func.max(each))) or 0 for each in (Case.id, Entry.case_id)]
        cases = [
            Case(
                id=max(used) + 1 + number, name=scan.name[:200], search=scan.name[:200].casefold(), place=place, number=number, source=scan.source, detector=detector, sha256=sha, size=size,
                uploaded=now, uploaded_by=by, changed=now,
            )
            for number, scan in enumerate(scans)
        ]  # fmt: skip
        session.add_all(cases)
        session.flush()
        for case in cases:
            note(session, by, "upload", case=case.id, after=f"{case.name} ({detector}, SHA-256 {sha})")
        return [case.id for case in cases]


def known(database: Database, sha: str, detector: str) -> list[int]:
    """Cases of the same bytes for the same detector: an upload that is sent again changes nothing."""
    with database.reading() as session:
        return list(
            session.scalars(
                select(Case.id).where(Case.sha256 == sha, Case.detector == detector).order_by(Case.id)
            )
        )


def sweep(settings: Settings) -> None:
    """Remove what killed uploads have left half; only for a server that has just started."""
    for folder in settings.uploads.glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


def new_place() -> str:
    """A name for an upload's folder."""
    return uuid4().hex


def _scans(files: Path, limits: Limits) -> list[Scan]:
    notes: list[str] = []
    found = [(name, path) for name, path in find_scans(files, notes) if sniff(path) in {"nifti", "dicom"}]
    if not found:
        raise InputError("\n".join(["no DICOM series or NIfTI file in the zip", *notes]))
    if len(found) > limits.scans:
        raise TooLargeError(f"{len(found)} scans in one zip, at most {limits.scans}; send several")
    return [Scan(name if path != files else "series", str(path.relative_to(files))) for name, path in found]


def _expect_unpacked(path: Path, name: str, limit: int) -> None:
    """Refuse what is large when unpacked, without holding it."""
    size = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(BLOCK):
                size += len(block)
                if size > limit:
                    raise TooLargeError(
                        f"more than {limit // 1_000_000} MB when unpacked; see --max-unpacked-mb"
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: damaged gzip ({error}); send it again") from error


def _unzip(sent: Path, files: Path, limits: Limits) -> None:
    """Unpack a zip; sizes are counted as they come, whatever the zip says."""
    left = limits.unpacked
    try:
        with zipfile.ZipFile(sent) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            _expect_few(len(members), limits)
            for member in members:
                target = files / _safe(member, limits)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as file:
                    left -= _copy(source, file, left)
    except TooLargeError as error:
        raise TooLargeError(f"{error}; see --max-files, --max-unpacked-mb") from None
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise InputError(
            f"the zip cannot be unpacked ({error}); pack it again, without a password"
        ) from error


def _expect_few(count: int, limits: Limits) -> None:
    if count > limits.files:
        raise TooLargeError(f"{count} files in the zip, at most {limits.files}")


def _copy(source: object, file: BinaryIO, left: int) -> int:
    size = 0
    while block := source.read(BLOCK):  # type: ignore[attr-defined]  # zipfile's file is private
        size += len(block)
        if size > left:
            raise TooLargeError("too much when unpacked")
        file.write(block)
    return size


def _safe(member: zipfile.ZipInfo, limits: Limits) -> PurePosixPath:
    """A member's path if it stays inside and is a plain file.

    Raises:
        InputError: it does not, or is not.
    """
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    odd = "\\" in member.filename or "\0" in member.filename or ":" in member.filename
    if path.is_absolute() or ".." in path.parts or odd or kind not in {0, stat.S_IFREG}:
        raise InputError(
            f"the zip has '{member.filename[:100]}', which is no plain file inside it; pack only the scans"
        )
    if len(path.parts) > limits.depth or any(len(part.encode()) > 255 for part in path.parts):
        raise InputError(
            f"the zip has '{shortlist(path.parts, 3)}', which is nested too deeply or named too long"
        )
    return path
