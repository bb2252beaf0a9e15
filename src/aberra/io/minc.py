"""MINC 1, plain or gzipped: what BrainWeb gives its simulated brains in."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.io.nifti import check_finite, unpacked
from aberra.io.nifti_header import check_size
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_minc(path: Path, channel: str) -> Volume:
    """Read a MINC 1 volume on its own grid; D, H, W are the file's dimensions in their order.

    Values are the real ones, scaled slice by slice as the file says (``image-min``, ``image-max``).
    Axes of length 1 in front, such as one point in time, are left out.

    Raises:
        InputError: damaged, more than three dimensions, NaN or Inf, a spacing that no scan has.
    """
    from nibabel.fileholders import FileHolder
    from nibabel.minc1 import Minc1Image

    content = unpacked(path)
    try:
        image = Minc1Image.from_file_map({"image": FileHolder(fileobj=BytesIO(content))})
        data: NDArray[np.float32] = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
        affine = np.asarray(image.affine, dtype=np.float64)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: the MINC file cannot be read ({reason}); it is cut off or damaged, copy it again"
        ) from error
    shape = list(data.shape)
    while data.ndim > 3 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 3:
        raise InputError(
            f"{path}: {' × '.join(map(str, shape))} voxels; expected one volume of three dimensions. Cut it out (mincreshape)"
        )
    check_size(path, affine, np.array(data.shape) > 1, "mm")
    check_finite(path, data)
    return Volume(
        data=data[None],
        affine=affine,
        channels=(channel,),
        provenance={
            "path": str(path), "format": "minc", "kind": "image" if 1 in data.shape else "volume",
            "dtype": str(image.get_data_dtype().newbyteorder("=")), "shape": shape, "warnings": [],
        },
    )  # fmt: skip
