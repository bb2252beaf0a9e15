"""The series that a result is of, as what is derived from it has to refer to it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np

from aberra import __version__
from aberra.errors import InputError
from aberra.extras import library
from aberra.files import config_hash
from aberra.io.dicom.series import read_series
from aberra.io.dicom.stack import stack_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    from aberra.io.dicom.header import Header
    from aberra.io.dicom.stack import Frame
    from aberra.result import Result

FORMAT = 1
"""Of the objects; another one has other identifiers."""

MAKER = "aberra"
"""Manufacturer of everything that is derived; by this, too, aberra knows its own series."""

NAMESPACE = UUID("6f5c1f0e-5a55-5f0b-9a4e-3f4a3a3f6d11")
"""Of the names that identifiers are hashed from."""

NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Without these nothing can refer to a slice or lie in its space."""

KEPT = (
    "SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "StudyDescription", "StudyID", "TimezoneOffsetFromUTC",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "OtherPatientIDsSequence",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
)  # fmt: skip
"""What is said of patient and study, and of what was taken away from it: copied as it is, and
nothing is filled in."""

EMPTY = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
)  # fmt: skip
"""Elements that every object has to have, be it without a value."""

LARGEST = 21_000_000
"""Series numbers are kept below 2³¹."""


@dataclass(eq=False)
class Source:
    """A series, ready to be referred to.

    Attributes:
        path: of it.
        affine: from (slice, row, column) to RAS mm, shape (4, 4).
        images: its instances, without what :data:`KEPT` lists; of a multi-frame series the one.
        kept: elements of :data:`KEPT` that it has.
        frames: its slices, in the order of ``images``.
        order: which slice of the result each of these is.
    """

    path: Path
    affine: NDArray[np.float64]
    images: list[Any]
    kept: list[Any]
    frames: list[Frame]
    order: list[int]

    @property
    def header(self) -> Header:
        """Of one of its slices."""
        return self.frames[0].header

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.frames), *self.frames[0].shape

    def framed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (D, H, W) of a result in the order of the frames."""
        return np.ascontiguousarray(values[self.order])


def highdicom() -> ModuleType:
    """The library that writes derived objects.

    Raises:
        ConfigError: it is not installed.
    """
    return library("highdicom", needed_by="DICOM output", extra="dicom")


def source_of(path: Path) -> Source:
    """Read the headers of a series.

    Raises:
        InputError: it cannot be read, says nothing by which others could refer to it, or has
            several multi-frame files.
    """
    stack = stack_of(path, read_series(path, whole=False))
    frames = stack.frames
    headers = {each.header.file: each.header for each in frames}
    for header in headers.values():
        if lacking := [name for name in NEEDED if not header.text(name)]:
            raise InputError(
                f"{header.file}: no {' and no '.join(lacking)}, so no DICOM object can refer to it; "
                "send the original series, or detect without --dicom"
            )
    if len(headers) > 1 and frames[0].header.frame is not None:
        raise InputError(
            f"{path}: {len(headers)} multi-frame files in one series, of which DICOM objects cannot be derived yet; "
            "detect without --dicom"
        )
    order = sorted(range(len(frames)), key=lambda index: frames[index].header.frame or 0)
    images = [header.dataset for header in headers.values()]
    first = frames[0].header
    kept = [deepcopy(first.dataset[name]) for name in KEPT if name in first.dataset]
    for image in images:
        for name in EMPTY:  # odd values would end the library; `finish` puts them back as they are
            setattr(image, name, None)
        _share_geometry(image, frames[0])
    return Source(path, stack.affine, images, kept, [frames[index] for index in order], order)


def _share_geometry(image: Any, frame: Frame) -> None:
    """Let all images say one orientation and spacing, as the library wants it; they are the same to
    a thousandth (:mod:`aberra.io.dicom.stack`).
    """
    from pydicom.dataset import Dataset

    if frame.header.frame is None:
        orientation = measures = image
        image.setdefault("SliceThickness", None)
    else:
        groups = image.get("SharedFunctionalGroupsSequence") or [Dataset()]
        orientation, measures = Dataset(), Dataset()
        groups[0].PlaneOrientationSequence, groups[0].PixelMeasuresSequence = [orientation], [measures]
        measures.SliceThickness = frame.header.get("SliceThickness", "PixelMeasuresSequence")
        image.SharedFunctionalGroupsSequence = list(groups)
    orientation.ImageOrientationPatient = decimals(frame.directions.ravel())
    measures.PixelSpacing = decimals(frame.spacing)


def decimals(values: Iterable[float]) -> list[str]:
    """Numbers as decimal strings, which hold 16 characters."""
    return [f"{value:.10g}" for value in values]


def finish(made: Any, source: Source) -> Any:
    """Say of an object's patient and study what the series says; what the library draws at random
    is made to depend on the object's own identifier.
    """
    for element in source.kept:
        made[element.tag] = element
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in made.get(name, ()):
            item.DimensionOrganizationUID = uid(made.SOPInstanceUID, "dimensions")
    if made.Modality == "OT":  # has to be there, be it empty
        made.Laterality = source.header.text("Laterality")
    return made


def identity(result: Result, source: Source) -> str:
    """What identifiers are made of: the result's key, or its content where it has none."""
    key = result.input.get("key") or result.map.content_hash()
    return config_hash([FORMAT, result.model, key, result.threshold, source.header.text("SeriesInstanceUID")])


def uid(*names: object) -> str:
    """An identifier hashed from names, under the root of identifiers that are UUIDs (DICOM PS3.5,
    B.2): the same names give the same one anywhere.
    """
    return f"2.25.{uuid5(NAMESPACE, '/'.join(map(str, names))).int}"


def plain(text: str, most: int = 64) -> str:
    """A text that any character set of DICOM can write, cut to what an element holds."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:most]


def about(result: Result, source: Source, name: str, place: int) -> dict[str, Any]:
    """What every constructor of the library is told of a series: identifiers, number and maker.

    Args:
        result: the case.
        source: its series.
        name: of the object.
        place: of the series among those that are derived, from 1.
    """
    own = identity(result, source)
    number = min(max(source.header.integer("SeriesNumber") or 0, 0), LARGEST)
    return {
        "series_instance_uid": uid(own, "series", name),
        "sop_instance_uid": uid(own, "instance", name, 1),
        "series_number": number * 100 + place,
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": plain(result.model.get("name", MAKER)),
        "software_versions": __version__,
        "device_serial_number": plain(result.model.get("fingerprint", "none")),
        "series_description": plain(f"aberra {result.model.get('name', '')}: {name}"),
    }
