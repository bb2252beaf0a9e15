"""PNG, JPEG and TIFF, grey, 8 or 16 bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATION_TAG = 0x0112

SPL = np.array([[0.0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Affine of an image: d to superior, rows to posterior, columns to the patient's left, 1 mm."""


def read_image(path: Path, channel: str) -> Volume:
    """Read a grey image as a volume of shape (1, 1, H, W), 1 mm pixels.

    A colour image whose channels are all equal counts as grey.

    Raises:
        InputError: damaged, true colour, or several pages.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            pages = getattr(image, "n_frames", 1)
            mode = image.mode
            turned = image.getexif().get(ORIENTATION_TAG, 1)
            pixels = np.array(image.convert("RGB") if mode in {"P", "CMYK", "YCbCr"} else image)
    except Exception as error:
        raise InputError(f"{path}: the image cannot be read ({error}); save it again as PNG") from error
    if pages > 1:
        raise InputError(
            f"{path}: {pages} pages; expected one image. Save the pages as files, or the stack as NIfTI"
        )
    if pixels.ndim == 3:
        grey = pixels[..., :1]
        colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
        if (colours != grey).any():
            raise InputError(f"{path}: a colour image ({mode}); expected grey. Convert it first")
        pixels = grey[..., 0]
    warnings = []
    if turned != 1:
        warnings.append(
            f"the file asks to be shown turned (EXIF orientation {turned}); pixels are read as stored"
        )
    return Volume(
        data=pixels.astype(np.float32)[None, None],
        affine=SPL,
        channels=(channel,),
        provenance={
            "path": str(path),
            "format": "image",
            "kind": "image",
            "dtype": str(pixels.dtype),
            "warnings": warnings,
        },
    )
