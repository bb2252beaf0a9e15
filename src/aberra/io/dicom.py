"""DICOM series: classic (a file a slice) and enhanced multi-frame."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.io.nifti import check_finite
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GAP_TOLERANCE = 0.05
"""Share of the slice distance that distances may differ by."""

ANGLE_TOLERANCE = 1e-3
"""Largest difference of direction cosines within a series."""


def read_dicom(path: Path, channel: str) -> Volume:
    """Read the one series in a folder, or the series that a file belongs to.

    Slices are sorted along their normal; axes are D = slices, H = rows, W = columns. Rescale slope and intercept are
    applied, so CT is in HU.

    Raises:
        InputError: several series, missing or duplicate slices, mixed sizes, or pixels that cannot be decoded.
    """
    frames = _frames(path)
    first = frames[0]
    for frame in frames[1:]:
        if (
            np.abs(frame.directions - first.directions).max() > ANGLE_TOLERANCE
            or frame.spacing != first.spacing
        ):
            raise InputError(
                f"{path}: slices of different orientation or pixel size (a localiser?); keep one stack"
            )
    normal = np.cross(first.directions[0], first.directions[1])
    depth = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(depth, kind="stable")
    depth = depth[order]
    frames = [frames[index] for index in order]
    step = _slice_step(path, depth, first)
    try:
        data = np.stack([frame.pixels() for frame in frames])
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: slices of different size ({error}); keep one stack") from error
    check_finite(path, data)
    rows, columns = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = (
        normal * step if len(frames) < 2 else (frames[-1].position - frames[0].position) / (len(frames) - 1)
    )
    affine[:3, 1] = first.directions[1] * rows
    affine[:3, 2] = first.directions[0] * columns
    affine[:3, 3] = frames[0].position
    return Volume(
        data=data[None],
        affine=LPS_TO_RAS @ affine,
        channels=(channel,),
        provenance={
            "path": str(path),
            "format": "dicom",
            "kind": "image" if 1 in data.shape else "volume",
            "dtype": str(first.stored),
            "series": str(first.series),
            "modality": str(first.dataset.get("Modality", "")),
            "dicom": acquisition(first.dataset),
            "warnings": [],
        },
    )


def acquisition(dataset: Any) -> dict[str, Any]:
    """What a header says of how the scan was taken; what is missing or no number is left out.

    Keys: ``modality``, ``description``, ``protocol``, ``body_part``, ``contrast_agent``, and times ``echo_ms``, ``repetition_ms``,
    ``inversion_ms``.
    """
    texts = {
        "modality": "Modality",
        "description": "SeriesDescription",
        "protocol": "ProtocolName",
        "body_part": "BodyPartExamined",
        "contrast_agent": "ContrastBolusAgent",
    }
    times = {"echo_ms": "EchoTime", "repetition_ms": "RepetitionTime", "inversion_ms": "InversionTime"}
    found: dict[str, Any] = {
        key: text for key, name in texts.items() if (text := str(dataset.get(name) or "").strip())
    }
    for key, name in times.items():
        try:
            found[key] = float(dataset.get(name))
        except (TypeError, ValueError):
            continue
    return found


class _Frame:
    """One slice: where it is and how to get its pixels."""

    def __init__(self, dataset: Any, path: Path, index: int | None = None) -> None:
        self.dataset, self.path, self.index = dataset, path, index
        try:
            position = self._item("PlanePositionSequence", "ImagePositionPatient")
            cosines = self._item("PlaneOrientationSequence", "ImageOrientationPatient")
            spacing = self._item("PixelMeasuresSequence", "PixelSpacing")
        except (AttributeError, IndexError) as error:
            raise InputError(
                f"{path}: no position, orientation or pixel spacing ({error}); not a volume. Export 2-D images as PNG"
            ) from error
        self.position = np.array([float(value) for value in position])
        self.directions = np.array([float(value) for value in cosines]).reshape(2, 3)
        self.spacing = (float(spacing[0]), float(spacing[1]))
        if min(self.spacing) <= 0:
            raise InputError(f"{path}: pixel spacing {self.spacing} mm; both must be above zero")
        self.series = dataset.get("SeriesInstanceUID", "")
        self.stored = (
            f"{'int' if dataset.get('PixelRepresentation', 0) else 'uint'}{dataset.get('BitsAllocated', 16)}"
        )

    def _item(self, sequence: str, name: str) -> Any:
        if self.index is None:
            return getattr(self.dataset, name)
        own = self.dataset.PerFrameFunctionalGroupsSequence[self.index]
        shared = self.dataset.SharedFunctionalGroupsSequence[0]
        group = own if sequence in own else shared
        return getattr(getattr(group, sequence)[0], name)

    def pixels(self) -> NDArray[np.float32]:
        """Rescaled pixels, shape (H, W)."""
        try:
            array = self.dataset.pixel_array
        except Exception as error:
            syntax = self.dataset.file_meta.get("TransferSyntaxUID", "unknown")
            name = getattr(syntax, "name", syntax)
            raise InputError(
                f"{self.path}: pixels of transfer syntax '{name}' cannot be decoded ({str(error).splitlines()[0]}); "
                "decompress the series first (dcmdjpeg, gdcmconv --raw)"
            ) from error
        if self.index is not None and array.ndim == 3:
            array = array[self.index]
        if array.ndim != 2:
            raise InputError(
                f"{self.path}: colour or multi-frame pixels {array.shape}; expected one grey slice"
            )
        slope, intercept = self._rescale()
        scaled: NDArray[np.float32] = array.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        return scaled

    def _rescale(self) -> tuple[float, float]:
        if self.index is not None:
            try:
                return (
                    float(self._item("PixelValueTransformationSequence", "RescaleSlope")),
                    float(self._item("PixelValueTransformationSequence", "RescaleIntercept")),
                )
            except (AttributeError, IndexError):
                pass
        return float(self.dataset.get("RescaleSlope", 1)), float(self.dataset.get("RescaleIntercept", 0))


def _frames(path: Path) -> list[_Frame]:
    """Every slice of the series."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        wanted = None
    else:
        files = sorted(
            each for each in path.parent.iterdir() if each.is_file() and not each.name.startswith(".")
        )
        wanted = _dataset(path).get("SeriesInstanceUID")
    found = []
    for file in files:
        with file.open("rb") as handle:
            handle.seek(128)
            if handle.read(4) != b"DICM":
                continue
        dataset = _dataset(file)
        if "PixelData" not in dataset or (wanted is not None and dataset.get("SeriesInstanceUID") != wanted):
            continue
        found.append((file, dataset))
    if not found:
        raise InputError(f"{path}: DICOM files without images; choose the folder of an image series")
    series = Counter(str(dataset.get("SeriesInstanceUID", "none")) for _, dataset in found)
    if len(series) > 1:
        listed = "; ".join(f"{uid} ({count} files)" for uid, count in series.most_common())
        raise InputError(
            f"{path}: {len(series)} series in one folder: {listed}. Give one folder a series, or a file of the one you mean"
        )
    frames = []
    for file, dataset in found:
        count = int(dataset.get("NumberOfFrames", 1) or 1)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            frames += [_Frame(dataset, file, index) for index in range(count)]
        elif count > 1:
            raise InputError(
                f"{file}: {count} frames without positions; export an enhanced or single-frame series"
            )
        else:
            frames.append(_Frame(dataset, file))
    return frames


def _dataset(file: Path) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(file)
    except Exception as error:
        raise InputError(f"{file}: damaged DICOM file ({error}); copy it again") from error


def _slice_step(path: Path, depth: NDArray[np.float64], first: _Frame) -> float:
    """Distance of neighbouring slices in mm.

    Raises:
        InputError: duplicate positions or missing slices.
    """
    if len(depth) < 2:
        return float(first.dataset.get("SliceThickness", 1) or 1)
    steps = np.diff(depth)
    typical = float(np.median(steps))
    doubled = np.flatnonzero(steps < GAP_TOLERANCE * max(typical, 1e-3))
    if len(doubled):
        places = ", ".join(f"{depth[index]:.2f}" for index in doubled[:5])
        raise InputError(
            f"{path}: {len(doubled)} slice position(s) occur twice (at {places} mm along the normal); several stacks or time points? Keep one"
        )
    uneven = np.flatnonzero(np.abs(steps - typical) > GAP_TOLERANCE * typical)
    if len(uneven):
        places = ", ".join(f"{depth[index]:.2f} → {depth[index + 1]:.2f}" for index in uneven[:5])
        raise InputError(
            f"{path}: slices are {typical:.2f} mm apart but not at {places} mm: slices are missing. Export the whole series"
        )
    return typical
