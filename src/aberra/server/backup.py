"""One file that a server can be made of again."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing, suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from aberra.errors import ConfigError, InputError
from aberra.files import MARK, SCRATCH, atomic_path, reading

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "server.sqlite"


def back_up(data: Path, target: Path) -> int:
    """Write a server's database and files into a tar file, while it runs.

    The database is copied first, by SQLite itself, as it is at one moment. What it tells of has
    its files by then, so that nothing in the copy lacks any; files that come later lie beside.

    Args:
        data: the server's folder.
        target: the tar file; replaced whole, at the end.

    Returns:
        Bytes.

    Raises:
        InputError: there is no such database.
        ConfigError: the target lies in the folder.
        OutputError: it cannot be written.
    """
    source = data / DATABASE
    if not source.is_file():
        raise InputError(
            f"{source}: is not there; a PostgreSQL database is backed up by pg_dump, then copy {data / 'uploads'} and {data / 'results'}"
        )
    if target.absolute().is_relative_to(data.absolute()):
        raise ConfigError(f"{target}: lies in the folder that is backed up; choose another place")
    with (
        reading(data),
        TemporaryDirectory() as scratch,
        closing(sqlite3.connect(source)) as live,
        closing(sqlite3.connect(f"{scratch}/{DATABASE}")) as copy,
    ):
        live.backup(copy)
        copy.close()
        with atomic_path(target) as temporary:
            with tarfile.open(temporary, "w") as tar:
                tar.add(f"{scratch}/{DATABASE}", DATABASE)
                tar.add(data / MARK, MARK)
                for name in ("uploads", "results"):
                    for path in sorted((data / name).rglob("*")):
                        if not any(part.startswith(SCRATCH) for part in path.parts):  # is being written
                            with suppress(FileNotFoundError):  # is being replaced
                                tar.add(path, path.relative_to(data), recursive=False)
            return temporary.stat().st_size
