"""Compressed pixels: RLE by pydicom, all kinds of JPEG by the GDCM that is part of SimpleITK.

GDCM runs in a process of its own, since a damaged frame can crash a decoder or never let it end.
Run as a script, this file is that process: it turns every ``*.dcm`` of a folder into ``*.npy``, or
into ``*.txt`` with the reason.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.io.dicom.header import Header
    from aberra.io.dicom.pixels import Layout

NATIVE = {
    "1.2.840.10008.1.2",  # implicit, little endian
    "1.2.840.10008.1.2.1",  # explicit
    "1.2.840.10008.1.2.1.99",  # deflated: the dataset is inflated when it is read
    "1.2.840.10008.1.2.2",  # big endian
}

SECONDS = 60
"""Time for a series to be decoded, and a second more a slice."""


def is_compressed(header: Header) -> bool:
    """Whether the pixels are of a transfer syntax that packs them."""
    return header.syntax not in {"", *NATIVE}


def decompress(headers: Sequence[Header], layouts: Sequence[Layout]) -> list[NDArray[Any]]:
    """Decode frames, unsigned as stored, shape (H, W) each.

    Raises:
        InputError: a frame is missing, damaged, or of a transfer syntax that is not known.
    """
    from pydicom.uid import RLELossless

    found: dict[int, NDArray[Any]] = {}
    with TemporaryDirectory(prefix="aberra-") as name:
        folder, jobs = Path(name), []
        for index, (header, layout) in enumerate(zip(headers, layouts, strict=True)):
            if header.syntax == RLELossless:
                found[index] = _unpack_rle(header, layout)
            else:
                _write_alone(header, layout, folder / f"{index:06}.dcm")
                jobs.append(index)
        if jobs:
            _run(folder, len(jobs))
        for index in jobs:
            found[index] = _result(headers[index], layouts[index], folder / f"{index:06}.npy")
    return [found[index] for index in range(len(headers))]


def _unpack_rle(header: Header, layout: Layout) -> NDArray[Any]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    try:
        pixels, _ = get_decoder(RLELossless).as_array(
            header.dataset.PixelData,
            index=header.frame or 0,
            raw=True,
            rows=layout.shape[0],
            columns=layout.shape[1],
            number_of_frames=layout.frames,
            bits_allocated=layout.allocated,
            bits_stored=layout.allocated,
            pixel_representation=0,
            samples_per_pixel=1,
            photometric_interpretation="MONOCHROME2",
            pixel_keyword="PixelData",
        )
    except Exception as error:
        raise _refusal(header, error) from error
    return np.asarray(pixels)


def _write_alone(header: Header, layout: Layout, path: Path) -> None:
    """Write a frame as an object that says nothing but how its pixels are stored, so that they come
    back as stored.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    alone = Dataset()
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = UID(header.syntax)
    alone.SOPClassUID, alone.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    alone.Rows, alone.Columns = layout.shape
    alone.SamplesPerPixel, alone.PhotometricInterpretation = 1, "MONOCHROME2"
    alone.BitsAllocated, alone.BitsStored, alone.HighBit = layout.allocated, layout.stored, layout.high
    alone.PixelRepresentation = int(bool(layout.signed))
    try:
        frame = get_frame(header.dataset.PixelData, header.frame or 0, number_of_frames=layout.frames)
        alone.PixelData = encapsulate([frame])
        alone["PixelData"].VR = "OB"
        alone.save_as(path, enforce_file_format=True)
    except Exception as error:
        raise _refusal(header, error) from error


def _run(folder: Path, count: int) -> None:
    """Let the decoder work; what it did not come to has no result."""
    try:
        subprocess.run(  # noqa: S603 - this file and a folder of ours
            [sys.executable, "-P", __file__, str(folder)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS + count,
        )
    except (OSError, subprocess.TimeoutExpired):
        return


def _result(header: Header, layout: Layout, file: Path) -> NDArray[Any]:
    why = file.with_suffix(".txt")
    if not file.is_file():
        said = why.read_text(encoding="utf-8").strip() if why.is_file() else "the decoder gave up"
        raise _refusal(header, RuntimeError(said))
    pixels = np.load(file)
    if pixels.shape != layout.shape:
        raise _refusal(header, RuntimeError(f"{pixels.shape} pixels, the header says {layout.shape}"))
    return np.asarray(pixels.astype(f"u{layout.allocated // 8}"))


def _refusal(header: Header, error: Exception) -> Exception:
    from pydicom.uid import UID

    from aberra.errors import InputError
    from aberra.io.dicom.header import first_line

    return InputError(
        f"{header.file}: pixels of transfer syntax '{UID(header.syntax).name}' cannot be decoded ({first_line(error)}); "
        "copy the file again if it is damaged, or decompress the series (gdcmconv --raw)"
    )


def _decode_all(folder: Path) -> None:
    import SimpleITK as sitk

    for file in sorted(folder.glob("*.dcm")):
        try:
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(file), imageIO="GDCMImageIO"))
            np.save(file.with_suffix(".npy"), pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels)
        except RuntimeError as error:
            file.with_suffix(".txt").write_text(str(error).strip().splitlines()[-1], encoding="utf-8")


if __name__ == "__main__":
    _decode_all(Path(sys.argv[1]))
