"""PNG, JPEG and TIFF, grey, 8 or 16 bit."""

from __future__ import annotations

import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.io.nifti import check_finite
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG, PHOTOMETRIC_TAG, SAMPLE_TAG = 0x0112, 262, 339

UNSIGNED, SIGNED = 1, 2
"""Values of a TIFF's sample format."""

SPL = np.array([[0.0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Affine of an image: d to superior, rows to posterior, columns to the patient's left, 1 mm."""


def read_image(path: Path, channel: str) -> Volume:
    """Read a grey image as a volume of shape (1, 1, H, W), 1 mm pixels.

    A colour image whose channels are all equal counts as grey; an alpha channel that is the same
    everywhere is left out.

    Raises:
        InputError: damaged, too large, true colour, transparent in places, several pages, NaN or
            Inf, a line of pixels, or stored in a way that cannot be read without a loss.
    """
    import PIL.Image

    warnings.filterwarnings("ignore", module="PIL")  # its users see what is said here
    try:
        _check_png(path)
        with PIL.Image.open(path) as image:
            pages, mode = getattr(image, "n_frames", 1), image.mode
            lossy = _lossy(image)  # first: reading EXIF may decode the pixels and forget how they were stored
            turned = image.getexif().get(ORIENTATION_TAG, 1)
            pixels = _pixels(image)
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}; cut the image up, or make it smaller") from error
    except Exception as error:
        raise InputError(f"{path}: the image cannot be read ({error}); save it again as PNG") from error
    if pages > 1:
        raise InputError(
            f"{path}: {pages} pages; expected one image. Save the pages as files, or the stack as NIfTI"
        )
    if lossy:
        raise InputError(f"{path}: {lossy}; save it as a grey PNG of 8 or 16 bit")
    if pixels.ndim == 3:
        colours, alpha = pixels[..., : 3 if pixels.shape[2] >= 3 else 1], pixels[..., -1]
        if (colours != pixels[..., :1]).any():
            raise InputError(f"{path}: a colour image ({mode}); expected grey. Convert it first")
        if pixels.shape[2] in {2, 4} and (alpha != alpha[0, 0]).any():
            raise InputError(f"{path}: transparent in places; expected grey. Flatten it first")
        pixels = pixels[..., 0]
    if min(pixels.shape) < 2:
        raise InputError(f"{path}: a line of {max(pixels.shape)} pixel(s); expected an image")
    data = pixels.astype(np.float32)
    check_finite(path, data)
    notes = []
    if turned != 1:
        notes.append(
            f"the file asks to be shown turned (EXIF orientation {turned}); pixels are read as stored"
        )
    return Volume(
        data=data[None, None],
        affine=SPL,
        channels=(channel,),
        provenance={
            "path": str(path),
            "format": "image",
            "kind": "image",
            "dtype": str(pixels.dtype),
            "warnings": notes,
        },
    )


def _check_png(path: Path) -> None:
    """Refuse a PNG with a chunk whose checksum is wrong: Pillow reads only as far as the last row,
    and checks no pixels.

    Raises:
        ValueError: a chunk is damaged or cut off.
    """
    with path.open("rb") as file:
        if file.read(len(PNG)) != PNG:
            return
        while head := file.read(8):
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            checksum, left = zlib.crc32(name), length
            while left and (block := file.read(min(left, 1 << 20))):
                checksum, left = zlib.crc32(block, checksum), left - len(block)
            if left or file.read(4) != checksum.to_bytes(4, "big"):
                raise ValueError(f"its checksum is wrong in {name!r}, it is cut off or damaged")
            if name == b"IEND":
                return


def _pixels(image: ImageFile) -> NDArray[Any]:
    """Pixels (H, W) or (H, W, colours), as they are stored."""
    if image.mode == "P":
        return np.array(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    pixels = np.array(image.convert("RGB") if image.mode in {"CMYK", "YCbCr"} else image)
    signs = set(np.atleast_1d(getattr(image, "tag_v2", {}).get(SAMPLE_TAG, UNSIGNED)).tolist())
    if pixels.dtype == np.uint8 and signs == {SIGNED}:
        return pixels.view(np.int8)
    if pixels.dtype == np.int32 and signs == {UNSIGNED}:
        return pixels.view(np.uint32)
    return pixels


def _lossy(image: ImageFile) -> str:
    """What Pillow would change in the pixels without a word; empty if nothing."""
    if any(";16" in str(tile[3]) for tile in image.tile) and not image.mode.startswith("I"):
        return "16-bit colour or transparency, which is read as 8-bit"
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC_TAG) == 0 and image.mode not in {"1", "L"}:
        return f"dark is stored as bright (WhiteIsZero) in {image.mode}"
    return ""
