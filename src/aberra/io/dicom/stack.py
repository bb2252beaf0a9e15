"""Slices of a series in order, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.io.dicom.header import Header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.io.dicom.series import Series

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

GAP_TOLERANCE = 0.05
"""Share of the slice distance that distances may differ by."""

ANGLE_TOLERANCE = 1e-3
"""Largest difference of direction cosines within a series."""

UNIT_TOLERANCE = 0.01
"""How far direction cosines may be from orthogonal unit vectors."""


@dataclass(eq=False)
class Frame:
    """One slice.

    Attributes:
        header: of its file, with the frame's index in a multi-frame object.
        position: of the first pixel in mm (LPS), shape (3,).
        directions: cosines along a row and along a column, shape (2, 3).
        spacing: distance of rows and of columns in mm.
        shape: rows and columns.
    """

    header: Header
    position: NDArray[np.float64]
    directions: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]


@dataclass(eq=False)
class Stack:
    """Frames along their normal, and the affine (4, 4) from (slice, row, column) to RAS mm."""

    frames: list[Frame]
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.frames), *self.frames[0].shape


def stack_of(path: Path, series: Series) -> Stack:
    """Order the slices of a series.

    Raises:
        InputError: no geometry, mixed orientations or sizes, missing or doubled slices.
    """
    frames = [frame for header in series.slices for frame in _frames(header)]
    first = frames[0]
    for frame in frames[1:]:
        if np.abs(frame.directions - first.directions).max() > ANGLE_TOLERANCE or not np.allclose(
            frame.spacing, first.spacing, rtol=ANGLE_TOLERANCE
        ):
            raise InputError(
                f"{path}: slices of different orientation or pixel size ({first.header.file.name}, {frame.header.file.name}; "
                "a localiser?); keep one stack"
            )
        if frame.shape != first.shape:
            raise InputError(
                f"{path}: slices of different size ({first.header.file.name} {first.shape}, "
                f"{frame.header.file.name} {frame.shape}); keep one stack"
            )
    normal = np.cross(first.directions[0], first.directions[1])
    depth = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(depth, kind="stable")
    frames = [frames[index] for index in order]
    step = _step(path, depth[order], frames)
    rows, columns = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = normal * step if len(frames) < 2 else _line(path, frames, step)
    affine[:3, 1] = first.directions[1] * rows
    affine[:3, 2] = first.directions[0] * columns
    affine[:3, 3] = frames[0].position
    return Stack(frames, LPS_TO_RAS @ affine)


def _frames(header: Header) -> list[Frame]:
    """The slices of one file."""
    count = header.integer("NumberOfFrames") or 1
    groups = header.items("PerFrameFunctionalGroupsSequence")
    if not groups:
        if count != 1:
            raise InputError(
                f"{header.file}: {count} frames without positions; export an enhanced or single-frame series"
            )
        return [_frame(header)]
    if count != len(groups):
        raise InputError(
            f"{header.file}: {count} frames, but values for {len(groups)}; export the series again"
        )
    frames = [Header(header.dataset, header.file, index) for index in range(count)]
    return [_frame(frame) for frame in frames]


def _frame(header: Header) -> Frame:
    if header.is_mosaic:
        raise InputError(
            f"{header.file}: a mosaic, the slices of a volume side by side in one picture; convert the series with dcm2niix"
        )
    position = header.numbers("ImagePositionPatient", 3, "PlanePositionSequence")
    cosines = header.numbers("ImageOrientationPatient", 6, "PlaneOrientationSequence")
    spacing = header.numbers("PixelSpacing", 2, "PixelMeasuresSequence")
    if position is None or cosines is None or spacing is None:
        missing = [
            name
            for name, value in (("position", position), ("orientation", cosines), ("pixel spacing", spacing))
            if value is None
        ]
        raise InputError(
            f"{header.file}: no {' and no '.join(missing)}; not a volume. Export 2-D images as PNG"
        )
    directions = cosines.reshape(2, 3)
    if np.abs(directions @ directions.T - np.eye(2)).max() > UNIT_TOLERANCE:
        raise InputError(
            f"{header.file}: the orientation {cosines.tolist()} is not two orthogonal unit vectors; export the series again"
        )
    if spacing.min() <= 0:
        raise InputError(
            f"{header.file}: pixel spacing {tuple(spacing.tolist())} mm; both must be above zero"
        )
    rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
    if min(rows, columns) <= 0:
        raise InputError(f"{header.file}: {rows} rows and {columns} columns; export the series again")
    return Frame(header, position, directions, (float(spacing[0]), float(spacing[1])), (rows, columns))


def _step(path: Path, depth: NDArray[np.float64], frames: list[Frame]) -> float:
    """Distance of neighbouring slices in mm.

    Raises:
        InputError: duplicate positions or missing slices.
    """
    if len(depth) < 2:
        thickness = frames[0].header.number("SliceThickness", "PixelMeasuresSequence") or 1.0
        return thickness if thickness > 0 else 1.0
    steps = np.diff(depth)
    typical = float(np.median(steps))
    doubled = np.flatnonzero(steps < GAP_TOLERANCE * max(typical, 1e-3))
    if len(doubled):
        places = ", ".join(f"{depth[index]:.2f}" for index in doubled[:5])
        names = " and ".join(frames[doubled[0] + side].header.file.name for side in (0, 1))
        raise InputError(
            f"{path}: {len(doubled)} slice position(s) occur twice (at {places} mm along the normal, as in {names}); "
            "several stacks or time points? Keep one"
        )
    uneven = np.flatnonzero(np.abs(steps - typical) > GAP_TOLERANCE * typical)
    if len(uneven):
        places = ", ".join(f"{depth[index]:.2f} → {depth[index + 1]:.2f}" for index in uneven[:5])
        raise InputError(
            f"{path}: slices are {typical:.2f} mm apart but not at {places} mm: slices are missing. Export the whole series"
        )
    return typical


def _line(path: Path, frames: list[Frame], step: float) -> NDArray[np.float64]:
    """The vector from a slice to the next; oblique to the slices where the gantry was tilted.

    Raises:
        InputError: a slice does not lie where this vector leads to.
    """
    positions = np.array([frame.position for frame in frames])
    vector = (positions[-1] - positions[0]) / (len(frames) - 1)
    off = positions - (positions[0] + np.arange(len(frames))[:, None] * vector)
    away = np.linalg.norm(off, axis=1)
    worst = int(away.argmax())
    if away[worst] > max(GAP_TOLERANCE * step, 0.5 * min(step, *frames[0].spacing)):
        raise InputError(
            f"{path}: {frames[worst].header.file.name} lies {away[worst]:.1f} mm from its place on the line of the slices; "
            "several stacks, or uneven distances? Keep one, or resample it"
        )
    return np.asarray(vector)
