"""Files to volumes and back: one reader a format, chosen by content, not by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aberra.volume import Volume

Format = Literal["nifti", "dicom", "image"]

IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
SUFFIXES = (".nii.gz", ".nii", ".png", ".jpeg", ".jpg", ".tiff", ".tif", ".dcm", ".hdr", ".img")

WHOLE = 1e-3
"""Values nearer to a whole number than this are that number."""

MOST_LABELS = 16
"""A mask that reaches 255 with more values than these is a grey picture of a mask."""


def sniff(path: Path | str) -> Format:
    """Tell a scan's format from its first bytes; a folder is a DICOM series if it holds a DICOM file.

    Raises:
        InputError: missing, empty or of no known format.
    """
    path = Path(path)
    if path.is_dir():
        if any(_is_dicom(each) for each in _files(path)):
            return "dicom"
        raise InputError(
            f"{path}: a folder without DICOM files; give scan files, a DICOM folder or a folder of scans"
        )
    found = _sniff_file(path)
    if found is None:
        raise InputError(f"{path}: not a NIfTI, DICOM, PNG, JPEG or TIFF file; convert it first")
    return found


def is_scan(path: Path | str) -> bool:
    """Whether a file or folder can be read as one scan, judged by its first bytes."""
    try:
        sniff(path)
    except InputError:
        return False
    return True


def read(path: Path | str, *, channel: str = "image") -> Volume:
    """Read one scan of one channel.

    Raises:
        InputError: missing, damaged, of no known format, or not one real-valued channel in 2-D or 3-D.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == "nifti":
        from aberra.io.nifti import read_nifti

        return read_nifti(path, channel)
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
    """Read several channels of one case and stack them.

    Args:
        paths: channel name to file.

    Raises:
        InputError: the channels are on different grids.
    """
    volumes = [read(path, channel=name) for name, path in paths.items()]
    first = volumes[0]
    for (_, path), volume in zip(paths.items(), volumes, strict=True):
        if not volume.same_grid(first):
            raise InputError(
                f"{path}: grid {volume.shape} at {_mm(volume)} differs from {next(iter(paths.values()))}: {first.shape} at "
                f"{_mm(first)}; co-register and resample the channels onto one grid"
            )
    if len(volumes) == 1:
        return first
    warnings = [note for volume in volumes for note in volume.provenance.get("warnings", [])]
    return first.with_(
        data=np.concatenate([volume.data for volume in volumes]),
        channels=tuple(paths),
        provenance={**first.provenance, "warnings": warnings},
    )


def read_mask(path: Path | str, like: Volume, notes: list[str] | None = None) -> NDArray[np.bool]:
    """Read a mask on a scan's grid, shape (D, H, W); inside is where :func:`labels_of` gives a label.

    Args:
        path: of the mask.
        like: the scan.
        notes: takes what the user must know of it.

    Raises:
        InputError: the mask is on another grid, or its values are none of a mask.
    """
    return read_labels(path, like, notes) > 0


def read_labels(path: Path | str, like: Volume, notes: list[str] | None = None) -> NDArray[np.uint8]:
    """Read a lesion mask with its label values on a scan's grid, shape (D, H, W); see :func:`labels_of`.

    Args:
        path: of the mask.
        like: the scan.
        notes: takes what the user must know of it.

    Raises:
        InputError: the mask is on another grid, or its values are none of a mask.
    """
    labels, note = labels_of(_on_grid(path, like), path)
    if note and notes is not None:
        notes.append(note)
    return labels


def labels_of(values: NDArray[np.float32], path: Path | str = "mask") -> tuple[NDArray[np.uint8], str]:
    """A mask's values as labels, and what the user must know of that; empty if nothing.

    Whole numbers from 0 to 255, rounding aside, are labels, whole numbers above count as 1, and so does the one other value of a
    mask of two. Anything else was interpolated, is a probability or a picture of a mask: it is cut at half of full, 1 or 255.

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
        if high > 255.5:
            return (whole > 0).astype(
                np.uint8
            ), f"{path}: labels above 255 are not told apart; all count as 1"
        return whole.astype(np.uint8), ""
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


def _on_grid(path: Path | str, like: Volume) -> NDArray[np.float32]:
    """Values (D, H, W) of a mask file that is on a scan's grid."""
    mask = read(path, channel="mask")
    fits = (
        mask.shape == like.shape
        if mask.provenance["kind"] == "image"
        else mask.same_grid(like, tolerance=1e-2)
    )
    if not fits:
        raise InputError(
            f"{path}: the mask's grid {mask.shape} at {_mm(mask)} is not the scan's {like.shape} at {_mm(like)}; "
            "resample the mask onto the scan (nearest neighbour)"
        )
    values: NDArray[np.float32] = mask.data[0]
    return values


def find_scans(folder: Path | str) -> list[tuple[str, Path]]:
    """List the scans below a folder: every NIfTI and image file and every folder of DICOM files.

    Returns:
        Unique names fit for folders, and paths, sorted.
    """
    folder = Path(folder)
    found: list[tuple[str, Path]] = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.is_dir():
            continue
        kind = _sniff_file(path)
        if kind == "dicom":
            series = path.parent
            name = "_".join(series.relative_to(folder).parts) or folder.name
            if (name, series) not in found:
                found.append((name, series))
        elif kind is not None:
            found.append((case_name(path.relative_to(folder)), path))
    names = [name for name, _ in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{folder}: two scans would both be called '{name}'; rename one or use a manifest")
    return found


def case_name(path: Path) -> str:
    """Turn a relative path into a name fit for a folder: ``sub-1/t1.nii.gz`` to ``sub-1_t1``."""
    text = "_".join(path.parts)
    for suffix in SUFFIXES:
        text = text.removesuffix(suffix)
    return re.sub(r"[^\w.+-]", "_", text).lstrip(".") or "scan"


def _sniff_file(path: Path) -> Format | None:
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(352)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise InputError(f"{path}: the file is empty; copy it again")
    if head[:2] == b"\x1f\x8b":
        return "nifti"  # a gzip is only ever a NIfTI here; the reader says if it is not
    if head[344:348] in {b"n+1\x00", b"ni1\x00"} or head[4:8] in {b"n+2\x00", b"ni2\x00"}:
        return "nifti"
    if head.startswith(IMAGE_MAGIC):
        return "image"
    return "dicom" if head[128:132] == b"DICM" else None


def _is_dicom(path: Path) -> bool:
    try:
        return _sniff_file(path) == "dicom"
    except InputError:
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _mm(volume: Volume) -> str:
    return "×".join(f"{step:.3g}" for step in volume.spacing) + " mm"
