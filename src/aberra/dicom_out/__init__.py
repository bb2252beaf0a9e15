"""A result as DICOM objects that refer to the series it is of."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.dicom_out.source import Source, highdicom, identity, source_of
from aberra.errors import InputError, shortlist
from aberra.files import atomic_path, read_json, recorded, write_json
from aberra.io import read, sniff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.result import Result

FOLDER = "dicom"
"""Within a case's folder."""

LIST = "objects.json"
"""Written last: what was made, of which result."""


def is_dicom_series(path: Path | str) -> bool:
    """Whether an input is DICOM; what cannot be looked at is none."""
    try:
        return sniff(path) == "dicom"
    except InputError:
        return False


def write_objects(result: Result, folder: Path, *, overlay: bool = False) -> list[Path]:
    """Write a result as DICOM objects, whole or not at all; what is there of the same result is
    kept.

    ``regions.dcm`` is the mask (binary segmentation, a segment a finding), ``likelihood.dcm`` the
    map as a fractional segmentation, ``map.dcm`` the map as it is (parametric map), ``report.dcm``
    the numbers (structured report, TID 1500). Patient, study and frame of reference are the
    series' own; series and instances have identifiers that depend on the result alone.

    Args:
        result: of a DICOM series that is still there.
        folder: of the objects.
        overlay: colour pictures, too, one a slice.

    Returns:
        The objects' files.

    Raises:
        ConfigError: highdicom is not installed.
        InputError: no input is a DICOM series, it is gone or lies elsewhere, or no objects can be
            made of it.
        OutputError: the folder cannot be written.
    """
    highdicom()
    source = _source(result)
    own = identity(result, source)
    if (there := listed(folder, own, overlay=overlay)) is not None:
        return there
    objects = []
    with atomic_path(folder, last=LIST) as temporary:
        temporary.mkdir()
        for name, made in _made(result, source, overlay=overlay):
            made.save_as(temporary / name, enforce_file_format=True)
            objects.append({"file": name, **_facts(made)})
        write_json(
            temporary / LIST, {"identity": own, "overlay": overlay, "case": result.case, "objects": objects}
        )
    return [folder / each["file"] for each in objects]


def listed(folder: Path, identity: str | None = None, *, overlay: bool = False) -> list[Path] | None:
    """The objects in a folder; None where it is not finished, of another result, or lacks the
    pictures that are asked for.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = read_json(folder / LIST)
        if (
            LIST in recorded(folder)
            and identity in {None, content["identity"]}
            and overlay <= content["overlay"]
        ):
            return [folder / each["file"] for each in content["objects"]]
    return None


def _source(result: Result) -> Source:
    """The series on whose voxels a result lies.

    Raises:
        InputError: there is none.
    """
    paths = [Path(path) for path in result.paths.values() if is_dicom_series(path)]
    if not paths:
        given = shortlist(result.paths.values())
        raise InputError(f"{result.case}: no DICOM series is at {given}; put it back, and detect again")
    for path in paths:
        found = source_of(path)
        if found.shape == result.map.shape and np.allclose(found.affine, result.map.affine, atol=1e-2):
            return found
    raise InputError(f"{paths[0]}: the series lies on other voxels than the result; detect again")


def _made(result: Result, source: Source, *, overlay: bool) -> Iterator[tuple[str, Any]]:
    """Each object with its file's name.

    Raises:
        InputError: the library refuses the series.
    """
    from aberra.dicom_out.images import likelihood, parametric_map, regions
    from aberra.dicom_out.overlay import overlay as pictures
    from aberra.dicom_out.report import report

    try:
        found = regions(result, source)
        yield "regions.dcm", found
        yield "likelihood.dcm", likelihood(result, source)
        yield "map.dcm", parametric_map(result, source)
        yield "report.dcm", report(result, source, found)
        if overlay:
            for made in pictures(result, source, read(source.path)):
                yield f"overlay{int(made.InstanceNumber):05}.dcm", made
    except (AttributeError, KeyError, ValueError) as error:
        raise InputError(
            f"{source.path}: no DICOM objects can be derived of this series ({error}); detect without --dicom"
        ) from error


def _facts(made: Any) -> dict[str, str]:
    """What tells an object."""
    names = ("Modality", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return {name: str(made[name].value) for name in names}
