"""The map over the scan as colour pictures, for viewers that show nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.dicom_out.source import Source, about, decimals, finish, highdicom, identity, uid
from aberra.foreground import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aberra.io.dicom.header import Header
    from aberra.io.dicom.stack import Frame
    from aberra.result import Result
    from aberra.volume import Volume

TOWARDS = ("RL", "AP", "FH")
"""Letters below and above zero of each axis of the patient."""

OBLIQUE = 0.1
"""Share of a direction that is worth a letter."""


def overlay(result: Result, source: Source, scan: Volume) -> Iterator[Any]:
    """Write a secondary capture a slice: the scan in grey, the map over it, findings outlined in
    white.

    Args:
        result: the case.
        source: its series.
        scan: its intensities, on the result's grid.
    """
    hd = highdicom()
    own, told = identity(result, source), about(result, source, "overlay", 5)
    low, high = shown(scan.data)
    for frame, index in zip(source.frames, source.order, strict=True):
        number = index + 1
        told |= {"sop_instance_uid": uid(own, "instance", "overlay", number), "instance_number": number}
        towards = [_letters(direction) for direction in frame.directions]
        made = hd.sc.SCImage(
            pixel_array=_painted(result, index, scan.data[0, index], low, high),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            patient_orientation=tuple(letters[:1] for letters in towards),  # all that it takes
            study_instance_uid=frame.header.text("StudyInstanceUID"),
            **told,
        )
        made.PatientOrientation = towards
        _place(made, frame)
        made.DerivationDescription = "scan in grey, anomaly map in colour, findings outlined"
        made.BurnedInAnnotation = "NO"
        made.SourceImageSequence = [_reference(frame.header)]
        yield finish(made, source)


def _painted(
    result: Result, index: int, plane: NDArray[np.float32], low: float, high: float
) -> NDArray[np.uint8]:
    """One slice, shape (H, W, 3): the map's colours are transparent below the lower end of its
    scale, opaque in the upper third.
    """
    from matplotlib import colormaps
    from scipy.ndimage import binary_dilation

    grey = np.repeat(np.clip((plane - low) / (high - low), 0, 1)[..., None], 3, axis=2)
    bottom, top = result.scale["low"], result.scale["high"]
    share = np.clip((result.map.data[0, index] - bottom) / max(top - bottom, 1e-9), 0, 1)
    opaque = np.clip(1.5 * share, 0, 1)[..., None]
    colours = colormaps["inferno"](share)[..., :3]
    picture = (1 - opaque) * grey + opaque * colours
    mask = result.mask[index]
    picture[binary_dilation(mask) & ~mask] = 1.0
    painted: NDArray[np.uint8] = np.rint(255 * picture).astype(np.uint8)
    return painted


def _letters(direction: NDArray[np.float64]) -> str:
    """Letters that a direction runs towards (DICOM PS3.3, C.7.6.1.1.1)."""
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(
        TOWARDS[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > OBLIQUE
    )


def _place(made: Any, frame: Frame) -> None:
    """Say where the picture lies, so that a viewer scrolls it beside the scan."""
    made.FrameOfReferenceUID = frame.header.text("FrameOfReferenceUID")
    made.PositionReferenceIndicator = frame.header.text("PositionReferenceIndicator")
    made.ImagePositionPatient = decimals(frame.position)
    made.ImageOrientationPatient = decimals(frame.directions.ravel())
    made.PixelSpacing = decimals(frame.spacing)


def _reference(header: Header) -> Any:
    """Name the slice that a picture is of."""
    from pydicom.dataset import Dataset

    found = Dataset()
    found.ReferencedSOPClassUID = header.text("SOPClassUID")
    found.ReferencedSOPInstanceUID = header.text("SOPInstanceUID")
    if header.frame is not None:
        found.ReferencedFrameNumber = header.frame + 1
    return found
