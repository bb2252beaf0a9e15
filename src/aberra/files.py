"""Files that are either whole or absent: write to a temporary name beside the target, then rename."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from aberra.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Give a temporary path with the target's suffixes; on success it becomes the target.

    The target may be a file or (if the body makes a folder there) a folder; an older one is replaced.

    Raises:
        OutputError: the folder cannot be written.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{target}: cannot write here ({error.strerror}); choose another folder") from error
    try:
        temporary = scratch / target.name
        yield temporary
        if temporary.is_dir() and target.exists():
            target.rename(scratch / "old")
        temporary.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: Path | str, text: str) -> None:
    """Write UTF-8 text atomically and durably."""
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(target: Path | str, content: Any) -> None:
    """Write JSON atomically: sorted keys, two-space indent, NaN refused."""
    write_text(target, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


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
            digest.update(str(each.relative_to(path)).encode())
        with each.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def config_hash(content: Any) -> str:
    """First 16 hex digits of SHA-256 over canonical JSON."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
