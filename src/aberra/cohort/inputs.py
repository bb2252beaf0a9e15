"""What a run reads, and that it never writes there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aberra.errors import InputError, OutputError
from aberra.io import sniff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aberra.cohort.manifest import Cohort


def keep_out(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output folder that is, holds or lies in something that is read; links and upper and
    lower case are seen through.

    Args:
        out: the folder, there or not.
        inputs: files and folders of scans, manifests, masks.

    Raises:
        OutputError: it is.
    """
    known: dict[Path, tuple[int, int] | None] = {}

    def identify(path: Path) -> tuple[int, int] | None:
        if path not in known:
            try:
                status = path.stat()
                known[path] = (status.st_dev, status.st_ino)
            except OSError:
                known[path] = None
        return known[path]

    def places(path: Path) -> set[tuple[int, int]]:
        """Of a path and all above it, as written and as its links lead."""
        found = {path.absolute(), Path(os.path.realpath(path))}
        return {place for each in found for part in (each, *each.parents) if (place := identify(part))}

    own, around = identify(out.absolute()), places(out)
    for path in inputs:
        if own is not None and own in places(path):
            raise OutputError(f"{out}: holds what is read ({path}); choose another --out")
        series = _series(path)
        if series is not None and identify(series.absolute()) in around:
            raise OutputError(f"{out}: lies in a scan that is read ({series}); choose another --out")


def _series(path: Path) -> Path | None:
    """The folder that is read as a whole: a folder itself, that of a DICOM file; None of any other
    file.
    """
    try:
        return path if path.is_dir() else path.parent if sniff(path) == "dicom" else None
    except (OSError, InputError):
        return None


def inputs_of(cohort: Cohort) -> list[Path]:
    """Every file and folder that a cohort is read from."""
    paths = [path for case in cohort for path in case.files.values()]
    manifest = Path(str(cohort.source))
    return [*paths, manifest] if manifest.suffix.lower() == ".csv" else paths
