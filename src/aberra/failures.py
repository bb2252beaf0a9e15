"""The last resort: what nobody foresaw becomes one line that says where to look."""

from __future__ import annotations

import platform
import sys
from tempfile import NamedTemporaryFile
from traceback import format_exception
from typing import TYPE_CHECKING

from aberra import __version__
from aberra.errors import AberraError, InputError
from aberra.files import write_text
from aberra.output import claim

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def told(error: BaseException, out: Path | None = None, case: str = "aberra") -> str:
    """Say in one line why something failed; the traceback of what was not foreseen goes into a log.

    Args:
        error: what came.
        out: folder of the run, which gets ``logs/<case>.log``; without one, or where that cannot be
            written, a temporary file.
        case: whose log it is.
    """
    if isinstance(error, AberraError):
        return str(error)
    what = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "can't allocate memory" in what:
        return f"not enough memory{f' ({what})' if what else ''}"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    name = type(error).__name__
    return f"unexpected {name}{f': {what}' if what else ''}; please report it, {_logged(error, out, case)}"


def refuse(failed: Mapping[str, Exception], what: str, out: Path | None = None) -> None:
    """Raise one error that tells of every case that failed; nothing where none did.

    Args:
        failed: case to what came.
        what: could not be done, as in ``"prepared"``.
        out: as for :func:`told`.

    Raises:
        AberraError: the case's own error where there is but one, else an InputError that lists
            them.
    """
    if len(failed) == 1 and isinstance(only := next(iter(failed.values())), AberraError):
        raise only
    if failed:
        listed = "\n  ".join(f"{case}: {told(error, out, case)}" for case, error in sorted(failed.items()))
        raise InputError(f"{len(failed)} case(s) cannot be {what}:\n  {listed}")


def _logged(error: BaseException, out: Path | None, case: str) -> str:
    """Write the traceback and say where it is."""
    head = f"aberra {__version__}, Python {platform.python_version()}, {platform.platform()}\n{sys.argv}\n\n"
    text = head + "".join(format_exception(error))
    if out is not None:
        try:
            claim(out / "logs", "logs")
            write_text(out / "logs" / f"{case}.log", text)
        except (AberraError, OSError):
            pass
        else:
            return f"log at {out / 'logs' / f'{case}.log'}"
    try:
        with NamedTemporaryFile(
            "w",
            prefix=f"aberra-{case}-",
            suffix=".log",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(text)
    except OSError as problem:
        return f"no log could be written ({problem.strerror})"
    return f"log at {file.name}"
