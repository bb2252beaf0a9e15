"""Files to volumes and back: one reader a format, chosen by content, not by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.io.files import (
    SUFFIXES,
    data_of,
    files_of,
    header_of,
    input_hash,
    is_scan,
    is_there,
    sniff,
    what_is,
)
from aberra.io.grids import described, grid_of, onto, turned
from aberra.io.search import case_name, distinct, find_scans, named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aberra.volume import Volume

__all__ = [
    "SUFFIXES", "case_name", "distinct", "files_of", "find_scans", "grid_of", "header_of", "input_hash", "is_scan", "labels_of", "named",
    "onto", "read", "read_case", "read_labels", "read_mask", "sniff", "turned", "what_is", "write",
]  # fmt: skip


def read(path: Path | str, *, channel: str = "image") -> Volume:
    """Read one scan of one channel.

    Raises:
        InputError: missing, damaged, of no known format, or not one real-valued channel in 2-D or 3-D.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == "nifti":
        from aberra.io.nifti import read_nifti

        header = header_of(path)
        data = data_of(header)
        if data is not None and not is_there(data):
            raise InputError(f"{path}: its data file {data.name} is missing; put it beside {header.name}")
        return read_nifti(header, channel)
    if kind == "dicom":
        from aberra.io.dicom import read_dicom

        return read_dicom(path, channel)
    from aberra.io.image import read_image

    return read_image(path, channel)


def write(volume: Volume, path: Path | str) -> None:
    """Write a volume as NIfTI, atomically; see :func:`aberra.io.nifti.write_nifti`."""
    from aberra.io.nifti import write_nifti

    write_nifti(volume, Path(path))


def read_case(paths: Mapping[str, Path | str]) -> Volume:
    """Read several channels of one case and stack them, in the axis order of the first.

    Args:
        paths: channel name to file.

    Raises:
        InputError: the channels are on different grids.
    """
    volumes = [read(path, channel=name) for name, path in paths.items()]
    first = volumes[0]
    same = [first, *(onto(volume, first) for volume in volumes[1:])]
    for path, volume, moved in zip(paths.values(), volumes, same, strict=True):
        if moved is None:
            raise InputError(
                f"{path}: grid {described(volume)} differs from {next(iter(paths.values()))}: {described(first)}; "
                "co-register and resample the channels onto one grid"
            )
    if len(volumes) == 1:
        return first
    warnings = [note for volume in volumes for note in volume.provenance.get("warnings", [])]
    return first.with_(
        data=np.concatenate([volume.data for volume in same if volume is not None]),
        channels=tuple(paths),
        provenance={**first.provenance, "warnings": warnings},
    )


def read_mask(path: Path | str, like: Volume) -> NDArray[np.bool]:
    """Read a mask on a scan's grid, shape (D, H, W); everything above 0 is inside.

    Raises:
        InputError: the mask is on another grid.
    """
    inside: NDArray[np.bool] = _on_grid(path, like) > 0
    return inside


def read_labels(path: Path | str, like: Volume) -> NDArray[np.uint8]:
    """Read a lesion mask with its label values on a scan's grid, shape (D, H, W); see :func:`labels_of`.

    Raises:
        InputError: the mask is on another grid.
    """
    return labels_of(_on_grid(path, like))


def labels_of(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A mask's values as labels; 1 everywhere above 0 if there are others than whole numbers from 0 to 255."""
    labels = values.clip(0, 255).astype(np.uint8)
    return labels if (labels == values).all() else (values > 0).astype(np.uint8)


def _on_grid(path: Path | str, like: Volume) -> NDArray[np.float32]:
    """Values (D, H, W) of a mask file on the scan's voxels, in the scan's axis order."""
    mask = read(path, channel="mask")
    moved = onto(mask, like)
    if moved is None:
        raise InputError(
            f"{path}: the mask's grid {described(mask)} is not the scan's {described(like)}, or lies elsewhere; "
            "resample the mask onto the scan (nearest neighbour)"
        )
    values: NDArray[np.float32] = moved.data[0]
    return values
