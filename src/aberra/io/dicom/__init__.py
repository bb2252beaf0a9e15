"""DICOM series: classic (a file a slice) and enhanced multi-frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.io.dicom.header import acquisition
from aberra.io.dicom.series import read_series
from aberra.io.dicom.stack import stack_of
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


def read_dicom(path: Path, channel: str) -> Volume:
    """Read the one series in a folder, or the series that a file belongs to.

    Slices are sorted along their normal; axes are D = slices, H = rows, W = columns. Rescale slope
    and intercept are applied, so CT is in HU.

    Raises:
        InputError: several series, missing or duplicate slices, mixed sizes, files that cannot be
            used, or pixels that cannot be decoded.
    """
    from aberra.io.dicom.pixels import layout_of, pixels_of
    from aberra.io.nifti import check_finite

    series = read_series(path)
    stack = stack_of(path, series)
    data, warnings = pixels_of(path, stack.frames)
    check_finite(path, data)
    first = stack.frames[0].header
    return Volume(
        data=data[None],
        affine=stack.affine,
        channels=(channel,),
        provenance={
            "path": str(path),
            "format": "dicom",
            "kind": "image" if 1 in data.shape else "volume",
            "dtype": layout_of(first).dtype,
            "series": first.text("SeriesInstanceUID"),
            "dicom": acquisition(first),
            "warnings": [*series.warnings, *warnings],
        },
    )


def dicom_grid(path: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of a series, from its headers alone.

    Raises:
        InputError: as :func:`read_dicom`, pixels apart.
    """
    stack = stack_of(path, read_series(path, whole=False))
    return stack.shape, stack.affine
