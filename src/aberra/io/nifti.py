"""NIfTI-1 and NIfTI-2, plain or gzipped."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.files import atomic_path
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_nifti(path: Path, channel: str) -> Volume:
    """Read a single-channel NIfTI on its own grid; D, H, W are the file's i, j, k.

    Scaling (``scl_slope``, ``scl_inter``) is applied. The affine is the sform, else the qform, else the spacing
    alone (with a warning).

    Raises:
        InputError: damaged, more than three dimensions, colour or complex, NaN or Inf, zero spacing.
    """
    import nibabel as nib

    logging.getLogger("nibabel.global").setLevel(logging.ERROR)  # what it repairs silently is checked below
    try:
        image: Any = nib.load(path)
        header = image.header
    except Exception as error:
        raise InputError(
            f"{path}: not a readable NIfTI file ({_first_line(error)}); copy or convert it again"
        ) from error
    if not isinstance(image, nib.Nifti1Pair | nib.Nifti2Pair):
        raise InputError(f"{path}: {type(image).__name__} is not supported; convert it to NIfTI")
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind == "c":
        what = "colour (RGB)" if dtype.fields is not None else "complex"
        raise InputError(
            f"{path}: {what} data; expected one real number a voxel. Export the greyscale or magnitude image"
        )
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3:
        raise InputError(
            f"{path}: {len(image.shape)} dimensions {image.shape}; expected one 3-D volume. "
            "Split time points or channels into files of their own"
        )
    spacing = _stored_spacing(path)
    if not np.isfinite(spacing).all() or (spacing[: len(image.shape)] <= 0).any():
        raise InputError(
            f"{path}: voxel spacing {' × '.join(f'{step:g}' for step in spacing)} mm; all must be above zero. Fix the header's pixdim"
        )
    try:
        data = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    except Exception as error:
        raise InputError(
            f"{path}: the data cannot be read ({_first_line(error)}); the file is cut off or damaged, copy it again"
        ) from error
    check_finite(path, data)
    warnings = []
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        warnings.append(
            "the header has no orientation (sform and qform codes are 0); left and right are not certain"
        )
    return Volume(
        data=data[None],
        affine=image.affine,
        channels=(channel,),
        provenance={
            "path": str(path),
            "format": "nifti",
            "kind": "image" if 1 in shape else "volume",
            "dtype": str(dtype),
            "warnings": warnings,
        },
    )


def write_nifti(volume: Volume, path: Path) -> None:
    """Write float32 (a ``mask`` channel: uint8) with sform and qform in mm, atomically.

    One channel becomes a 3-D file, several a 4-D file. The same volume gives the same bytes.
    """
    import nibabel as nib

    data: NDArray[Any] = volume.data[0] if len(volume.channels) == 1 else np.moveaxis(volume.data, 0, -1)
    if volume.channels == ("mask",):
        data = data.astype(np.uint8)
    image = nib.Nifti1Image(data, volume.affine)
    if max(data.shape) > np.iinfo(np.int16).max:
        image = nib.Nifti2Image(data, volume.affine)
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1, strip_shears=True)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    with atomic_path(path) as temporary:
        if path.suffix == ".gz":
            import gzip

            content = gzip.compress(content, compresslevel=4, mtime=0)
        temporary.write_bytes(content)


def _stored_spacing(path: Path) -> NDArray[np.float64]:
    """Spacing as the file has it: nibabel silently turns 0 into 1 mm.

    NIfTI-1 keeps eight float32 ``pixdim`` at byte 76, NIfTI-2 eight float64 at byte 104.
    """
    import gzip

    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        head = stream.read(168)
    for order in "<>":
        size = int(np.frombuffer(head[:4], dtype=f"{order}i4")[0])
        if size == 348:
            return np.frombuffer(head[76:108], dtype=f"{order}f4")[1:4].astype(float)
        if size == 540:
            return np.frombuffer(head[104:168], dtype=f"{order}f8")[1:4].astype(float)
    raise InputError(f"{path}: not a NIfTI header; convert the file again")


def check_finite(path: Path, data: NDArray[np.float32]) -> None:
    """Refuse NaN and Inf, with their counts.

    Raises:
        InputError: there are some.
    """
    if np.isfinite(data).all():
        return
    nan, inf = int(np.isnan(data).sum()), int(np.isinf(data).sum())
    raise InputError(
        f"{path}: {nan:,} NaN and {inf:,} Inf voxels; replace them (often the background) before use"
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
