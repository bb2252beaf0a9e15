"""Files to volumes and back: one reader a format, chosen by content, not by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.files import reading
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
from aberra.io.grids import grid_of, onto, turned
from aberra.io.search import case_name, distinct, find_scans, named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aberra.volume import Volume

__all__ = [
    "SUFFIXES", "case_name", "distinct", "files_of", "find_scans", "grid_of", "header_of", "input_hash", "is_scan", "is_whole",
    "labels_of", "named", "onto", "read", "read_case", "read_labels", "read_mask", "sniff", "turned", "what_is", "write",
]  # fmt: skip

WHOLE = 1e-3
"""Values nearer to a whole number than this are that number."""

MOST_LABELS = 16
"""A mask that reaches 255 with more values than these is a grey picture of a mask."""


def read(path: Path | str, *, channel: str = "image") -> Volume:
    """Read one scan of one channel.

    Raises:
        InputError: missing, damaged, of no known format, or not one real-valued channel in 2-D or
            3-D.
    """
    path = Path(path)
    with reading(path):
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
        if kind == "minc":
            from aberra.io.minc import read_minc

            return read_minc(path, channel)
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
                f"{path}: grid {volume.grid} differs from {next(iter(paths.values()))}: {first.grid}; "
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


def read_mask(path: Path | str, like: Volume, notes: list[str] | None = None) -> NDArray[np.bool]:
    """Where :func:`read_labels` gives a label, shape (D, H, W)."""
    return read_labels(path, like, notes) > 0


def read_labels(path: Path | str, like: Volume, notes: list[str] | None = None) -> NDArray[np.uint8]:
    """Read a lesion mask with its label values on a scan's grid, shape (D, H, W);
    see :func:`labels_of`.

    Args:
        path: of the mask.
        like: the scan.
        notes: takes what the user must know of it.

    Raises:
        InputError: the mask is on another grid, or its values are none of a mask.
    """
    labels, note = labels_of(read_onto(path, like), path)
    if note and notes is not None:
        notes.append(note)
    return labels


def labels_of(values: NDArray[np.float32], path: Path | str = "mask") -> tuple[NDArray[np.uint8], str]:
    """A mask's values as labels, and what the user must know of that; empty if nothing.

    Whole numbers from 0 to 255, rounding aside, are labels, whole numbers above count as 1, and so
    does the one other value of a mask of two. Anything else was interpolated, is a probability or a
    picture of a mask: it is cut at half of full, 1 or 255.

    Raises:
        InputError: numbers below 0 and none above.
    """
    low, high = (float(end) + 0.0 for end in (values.min(initial=0), values.max(initial=0)))
    if low <= -0.5 and high < 0.5:
        raise InputError(
            f"{path}: values from {low:g} to {high:g}; expected a mask, 0 outside and above 0 inside. Export it as unsigned integers"
        )
    whole = np.rint(values)
    full = 255 if abs(high - 255) < 0.5 else 1
    if is_whole(values) and (full == 1 or len(np.unique(whole)) <= MOST_LABELS):
        note = f"{path}: labels above 255 are not told apart; all count as 1" if high > 255.5 else ""
        return (whole > 0 if note else whole).astype(np.uint8), note
    inside = values > high / 2
    if np.abs(values - inside * np.float32(high)).max() <= WHOLE * high:
        return inside.astype(np.uint8), ""
    return (values > full / 2).astype(np.uint8), (
        f"{path}: neither 0 and 1 nor whole-numbered labels (values from {low:.4g} to {high:.4g}), as if interpolated or a "
        f"probability; cut at {full / 2:g}. Resample masks by nearest neighbour"
    )


def is_whole(values: NDArray[np.float32]) -> bool:
    """Whether all values are whole numbers from 0, rounding aside."""
    return bool(np.abs(values - np.rint(values)).max(initial=0) <= WHOLE and values.min(initial=0) > -0.5)


def read_onto(path: Path | str, like: Volume) -> NDArray[np.float32]:
    """Values (D, H, W) of a file of a mask or of labels on the scan's voxels, in the scan's axis
    order.

    Raises:
        InputError: it is on another grid.
    """
    mask = read(path, channel="mask")
    moved = onto(mask, like)
    if moved is None:
        raise InputError(
            f"{path}: the mask's grid {mask.grid} is not the scan's {like.grid}, or lies elsewhere; "
            "resample the mask onto the scan (nearest neighbour)"
        )
    values: NDArray[np.float32] = moved.data[0]
    return values
