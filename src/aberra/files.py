"""Files that are whole or absent, and never in the place of what aberra did not write.

A folder that aberra marks as its own has two files: ``.aberra.json`` says what the folder is,
``.aberra.files`` which files in it aberra has written, a JSON string a line. In a marked folder
only recorded files are replaced.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import tomllib
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from aberra.errors import AberraError, ConfigError, InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MARK = ".aberra.json"
RECORD = ".aberra.files"
SCRATCH = ".aberra-"
"""How the names of temporary folders begin."""

IN_THE_WAY = {
    errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EBUSY, errno.EACCES, errno.EPERM
}  # fmt: skip
"""What systems say when a folder cannot take another one's name because something is there."""


@contextmanager
def atomic_path(
    target: Path | str, *, last: str = "", unless: Callable[[], bool] = lambda: False
) -> Iterator[Path]:
    """Give a temporary path with the target's name; on success what is there becomes the target.

    A file replaces a file, in marked folders only one that aberra has written. A folder appears
    whole where there is none or an empty one; else its files replace, one by one, those that aberra
    has written there, and nothing else is touched.

    Args:
        target: file, or folder if the body makes one.
        last: the file that makes a folder whole: removed first, written last.
        unless: asked at the end, while no other process can change the folder: whether to keep what
            is there.

    Raises:
        OutputError: the place cannot be written, or something is there that aberra did not write.
    """
    target = Path(target)
    if target.name in {"", ".."}:
        target = Path(os.path.realpath(target))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=SCRATCH, dir=target.parent))
    temporary = scratch / target.name
    try:
        with writing(target):
            yield temporary
            if temporary.is_dir():
                _fill(temporary, target, last, unless)
            else:
                record(target)
                temporary.replace(target)
    except (
        OutputError
    ) as error:  # of a file in the folder that was being made: name the place that was asked for
        told = str(error).replace(str(temporary), str(target))
        raise (OutputError(told) if told != str(error) else error) from error.__cause__
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fill(tree: Path, target: Path, last: str, unless: Callable[[], bool]) -> None:
    """Make a finished tree the target."""
    whole = (tree / MARK).is_file()  # then it is a folder of several and must be new
    names = {each.name for each in tree.iterdir()}
    if not whole:
        _write_record(tree, names)
    try:
        if not target.is_symlink():  # Windows would replace it
            tree.rename(target)
            return
    except OSError as error:
        if error.errno not in IN_THE_WAY or not target.is_dir():
            raise
    if whole:
        raise OutputError(f"{target}: the folder is not empty; choose another one")
    refuse_foreign(target)
    with locked(target):
        if not unless():
            _replace(tree, target, names, last)


def _replace(tree: Path, target: Path, names: set[str], last: str) -> None:
    """Move files into a folder in the place of those that aberra has written there."""
    own = recorded(target)
    for name in sorted(names - own):
        if os.path.lexists(target / name):
            raise OutputError(f"{target / name}: was not written by aberra; move it away")
    _write_record(target, own | names)
    for name in [last] * bool(last) + sorted(own - names):  # from here on it is unfinished
        (target / name).unlink(missing_ok=True)
    for name in sorted(names - {last}):
        (tree / name).replace(target / name)
    _write_record(target, names)
    if last in names:
        (tree / last).replace(target / last)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that one case's files cannot go into.

    Raises:
        OutputError: a file or a link, or a folder with files of which none is recorded as aberra's.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise OutputError(
            f"{folder}: a {'link' if folder.is_symlink() else 'file'} is in the way; move it away"
        )
    if (folder / MARK).is_file() or not ((folder / RECORD).is_file() or is_empty(folder)):
        raise OutputError(
            f"{folder}: holds something else than this case's files; move it away, rename the case, or choose another --out"
        )


def is_empty(folder: Path) -> bool:
    """Whether nothing but aberra's own temporary folders is in a folder."""
    return not any(not each.name.startswith(SCRATCH) for each in folder.iterdir())


# -- what is aberra's ------------------------------------------------------------------------------


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What a folder is said to be; None where it is not marked, or nothing can be made of the mark."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("kind"), str) else None


def recorded(folder: Path) -> set[str]:
    """Names of the files that aberra has written in a folder."""
    names = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        for line in (folder / RECORD).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # half a line
                names.add(str(json.loads(line)))
    return {name for name in names if name == Path(name).name}


def record(target: Path) -> None:
    """Note that aberra is about to write a file, if its folder is a marked one.

    Raises:
        OutputError: a file is there and is not recorded.
    """
    folder, name = target.parent, target.name
    if name in {MARK, RECORD} or not (folder / MARK).is_file():
        return
    line = "\n" + json.dumps(name)  # the break ahead, as a full disk may have cut the line before
    with (folder / RECORD).open("a+b") as file:
        file.seek(0)
        known = line.encode() in file.read()  # folders may have ten thousands of files: no parsing
        if not known and os.path.lexists(target):
            raise OutputError(f"{target}: was not written by aberra; move it away")
        if not known:
            file.write(line.encode())


def tidy(folder: Path) -> None:
    """Sort the record of a marked folder, so that it does not tell in which order processes wrote."""
    if (folder / MARK).is_file():
        _write_record(folder, recorded(folder))


def _write_record(folder: Path, names: Iterable[str]) -> None:
    text = "".join("\n" + json.dumps(name) for name in sorted(names))
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def discard(folder: Path) -> None:
    """Remove what aberra has written in a marked folder and below; what it has not stays, and so do
    the folders around it.
    """
    if folder.is_symlink() or not ((folder / MARK).is_file() or (folder / RECORD).is_file()):
        return
    with writing(folder):
        for each in sorted(folder.iterdir()):
            if each.is_dir():
                discard(each)
        for name in recorded(folder):
            (folder / name).unlink(missing_ok=True)
        if {each.name for each in folder.iterdir()} <= {MARK, RECORD}:
            for name in (RECORD, MARK):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


@contextmanager
def locked(place: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a folder or file against other processes; gives whether it could be.

    A killed process lets go.

    Where the system has no such lock (Windows, some network drives) the work goes on without.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        yield True
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        held = True
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = False
        except OSError:
            pass
        yield held
    finally:
        os.close(handle)


# -- what can go wrong -----------------------------------------------------------------------------


@contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Turn what the system says when something cannot be written into an error that names it.

    Raises:
        OutputError: instead of OSError and of safetensors' own error.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{target}: cannot write here ({_why(error, Path(target))}); choose another place"
        ) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        told = re.search(r"\(os error (\d+)\)", str(error))
        why = os.strerror(int(told[1])) if told else str(error)
        raise OutputError(f"{target}: cannot write here ({why}); choose another place") from error


@contextmanager
def reading(path: Path | str, kind: type[AberraError] = InputError) -> Iterator[None]:
    """Turn what the system says when something cannot be read into an error that names it.

    Raises:
        InputError: or another error of ``kind``, instead of OSError.
    """
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error)
        remedy = "; ask for permission to read it" if isinstance(error, PermissionError) else ""
        raise kind(f"{error.filename or path}: cannot be read ({what}){remedy}") from error


def _why(error: OSError, target: Path) -> str:
    """The system's words; NumPy has none for a full disk."""
    if error.strerror:
        return error.strerror
    with suppress(OSError):
        place = next(each for each in target.absolute().parents if each.exists())
        if shutil.disk_usage(place).free < 1 << 20:
            return os.strerror(errno.ENOSPC)
    return str(error)


# -- content ---------------------------------------------------------------------------------------


def write_text(target: Path | str, text: str) -> None:
    """Write UTF-8 text atomically and durably; bytes of file names that are no UTF-8 are written as
    escapes.
    """
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def link(source: Path, target: Path) -> None:
    """Give a file another name: a hard link, or a copy where the disk has no such.

    Raises:
        OutputError: as of :func:`atomic_path`.
    """
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def append_line(target: Path, line: str = "") -> None:
    """Add a line of text to a file, durably: when this returns, it is on the disk.

    Several processes may append to one file. What a crash has left of a line that was never finished
    is cut off first; without a line nothing else is done.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        new = not target.exists()
        with target.open("a+b") as file, locked(target):
            file.seek(0)
            whole = file.read()
            end = whole.rfind(b"\n") + 1
            if end < len(whole):
                file.truncate(end)
            if line:
                file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new and os.name == "posix":  # the name, too
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def write_json(target: Path | str, content: Any) -> None:
    """Write JSON atomically: sorted keys, two-space indent, NaN refused."""
    write_text(target, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as comma-separated text with a header; columns that a row lacks are empty, other keys
    are left out.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_json(path: Path | str) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # not UTF-8, not TOML, a number of thousands of digits, or nested without end
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes; of a folder, over the sorted names and bytes of its files."""
    path = Path(path)
    digest = sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for each in files:
        if path.is_dir():
            digest.update(os.fsencode(each.relative_to(path)))
        with each.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def config_hash(content: Any) -> str:
    """First 16 hex digits of SHA-256 over canonical JSON."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
