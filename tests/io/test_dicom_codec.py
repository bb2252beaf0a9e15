"""Compressed series come back bit for bit."""

from __future__ import annotations

import io
from base64 import b64decode

import numpy as np
import pytest
from dicom_series import brain, change, enhanced, save, slices, write
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from aberra.errors import InputError
from aberra.io import grid_of, read
from aberra.io.dicom import codec

RAMP = np.arange(48).reshape(6, 8)

UNSIGNED, SIGNED = RAMP**2 * 37 % 4096, RAMP**3 % 4001 - 2000

FRAMES = {  # the two pictures above, by CharLS and libjpeg
    JPEGLSLossless: (
        "/9j/9wALEAAGAAgBAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAKJM3a44F0vyl3YaATqV+AveoA50+YDzpINKBJ9KAv8XrB5I/duBSeAyA9SJBUnfwUoJgLEKUhE8"
        "ZBK4Kx0nmgDNoQApRd8UvUbW5P/ZAA==",
        "/9j/9wALEAAGAAgBAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAA89AGBsRyLc9b80ALZYe0txj1XkP4dBSuZ+IDLnupq1AIoivzg4HNGaiA1hxVsJUIRqYBX22Fef"
        "AJbDnkJNT6AYPOIhHIcwF/S2oP/ZAA==",
    ),
    JPEGLossless: (
        "/9j/wwALEAAGAAgBAREA/8QAGwAAAwEAAwEAAAAAAAAAAAAACgsMCQYHCBD/2gAIAQEAAQAA+5L3f650D1N2X3hpQCdSv4wg1M50+eQwXfsxWh8qw2jb2zGzoHD94rOv"
        "PqZ/Kg9RDUaPsCllTXJ+KkNUYrWrITQF2lf+CQEkG4JNa4//2QA=",
        "/9j/wwALEAAGAAgBAREA/8QAHgAAAgICAgMAAAAAAAAAAAAACwwJCgMIBgcBBQ//2gAIAQEAAQAA+8GHnP7PkvPe2+/7AG7Mh8pcxs6tiOzvC9cxvLkAyOqqWVrWTTXx"
        "wlf9YOwnYeNozGij2nGGsLCjpHj3am+cmU/YkcWKW6jygQBm2//ZAA==",
    ),
}
FRAMES[JPEGLosslessSV1] = FRAMES[JPEGLossless]


def pack(datasets, syntax, frames):
    """Replace the pixels of datasets by compressed frames, one list a dataset."""
    for dataset, several in zip(datasets, frames, strict=True):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.add_new("PixelData", "OB", encapsulate(several))
        dataset["PixelData"].is_undefined_length = True
    return datasets


def _jpeg2000(plane):
    stream = io.BytesIO()
    Image.fromarray(plane.astype(np.uint16)).save(stream, format="JPEG2000", irreversible=False, no_jp2=True)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", FRAMES)
@pytest.mark.parametrize(
    ("which", "plane", "changes"),
    [(0, UNSIGNED, {"BitsStored": 12, "HighBit": 11}), (1, SIGNED, {"PixelRepresentation": 1})],
)
def test_jpeg_ls_and_lossless_jpeg(which, plane, changes, syntax, tmp_path):
    data, frame = np.stack([plane] * 3), b64decode(FRAMES[syntax][which])
    datasets = slices(data, dtype="i2" if which else "u2", **changes)
    write(pack(datasets, syntax, [[frame]] * 3), tmp_path / "s")
    volume = read(tmp_path / "s")
    np.testing.assert_array_equal(volume.data[0], data)
    assert grid_of(tmp_path / "s")[0] == data.shape

    several = enhanced(data, dtype="i2" if which else "u2", **changes)
    (several,) = pack([several], syntax, [[frame] * 3])
    np.testing.assert_array_equal(read(save(several, tmp_path / "frames")).data[0], data)


def test_jpeg_2000(tmp_path):
    data = brain((3, 64, 48))
    datasets = pack(slices(data), JPEG2000Lossless, [[_jpeg2000(plane)] for plane in data])
    np.testing.assert_array_equal(read(write(datasets, tmp_path / "s")).data[0], data)


def test_lossy_jpeg_is_nearly_the_scan(tmp_path):
    rows = np.broadcast_to(np.linspace(0, 200, 32)[:, None], (3, 32, 40)).astype(np.uint8)
    frames = []
    for plane in rows:
        stream = io.BytesIO()
        Image.fromarray(plane).save(stream, format="JPEG", quality=95)
        frames.append([stream.getvalue()])
    datasets = pack(slices(rows, dtype="u1"), JPEGBaseline8Bit, frames)
    np.testing.assert_allclose(read(write(datasets, tmp_path / "s")).data[0], rows, atol=4)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_run_lengths_and_deflated_datasets(dtype, tmp_path):
    data = brain(high=200) - (100 if dtype == "i2" else 0)
    datasets = slices(data, dtype=dtype)
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read(write(datasets, tmp_path / "rle")).data[0], data)
    (several,) = [enhanced(data, dtype=dtype)]
    several.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read(save(several, tmp_path / "frames")).data[0], data)
    datasets = slices(data, dtype=dtype, syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read(write(datasets, tmp_path / "deflated")).data[0], data)


def test_polarity_and_padding_of_compressed_pixels(tmp_path):
    data = np.stack([UNSIGNED] * 2)
    frame = b64decode(FRAMES[JPEGLSLossless][0])
    datasets = slices(
        data,
        BitsStored=12,
        HighBit=11,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=int(data[0, 0, 1]),
    )
    volume = read(write(pack(datasets, JPEGLSLossless, [[frame]] * 2), tmp_path / "s"))
    shown = 4095 - data
    shown[data == data[0, 0, 1]] = shown[data != data[0, 0, 1]].min()
    np.testing.assert_array_equal(volume.data[0], shown)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLossless, RLELossless, HTJ2KLossless])
@pytest.mark.parametrize(
    "spoil", [lambda frame: frame[:40], lambda frame: b"\0" * len(frame), lambda frame: frame[60:]]
)
def test_a_damaged_frame_names_its_file(spoil, syntax, tmp_path):
    data = np.stack([UNSIGNED] * 3)
    frame = b64decode(
        FRAMES[
            JPEGLSLossless if syntax == RLELossless else JPEGLossless if syntax == HTJ2KLossless else syntax
        ][0]
    )
    frames = [[frame], [spoil(frame)], [frame]]
    folder = write(pack(slices(data), syntax, frames), tmp_path / "s")
    with pytest.raises(InputError, match=r"IM000\d\.dcm: pixels of transfer syntax .* cannot be decoded"):
        read(folder)


def test_frames_of_another_size_than_the_header_says(tmp_path):
    frame = b64decode(FRAMES[JPEGLSLossless][0])
    folder = write(pack(slices(brain((2, 9, 9))), JPEGLSLossless, [[frame]] * 2), tmp_path / "s")
    with pytest.raises(InputError, match=r"IM0000\.dcm"):
        read(folder)


def test_a_file_cut_in_compressed_pixels_is_damaged(tmp_path):
    frame = b64decode(FRAMES[JPEGLSLossless][0])
    folder = write(pack(slices(np.stack([UNSIGNED] * 3)), JPEGLSLossless, [[frame]] * 3), tmp_path / "s")
    last = folder / "IM0002.dcm"
    last.write_bytes(last.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"IM0002\.dcm"):
        read(folder)


@pytest.mark.parametrize("end", ["crash", "hang"])
def test_a_decoder_that_crashes_or_hangs_ends_as_an_error(end, tmp_path, monkeypatch):
    script = tmp_path / "decoder.py"
    script.write_text({"crash": "import os; os.abort()", "hang": "import time; time.sleep(60)"}[end])
    monkeypatch.setattr(codec, "__file__", str(script))
    monkeypatch.setattr(codec, "SECONDS", 1)
    frame = b64decode(FRAMES[JPEGLSLossless][0])
    folder = write(pack(slices(np.stack([UNSIGNED] * 2)), JPEGLSLossless, [[frame]] * 2), tmp_path / "s")
    with pytest.raises(InputError, match=r"IM0000\.dcm.*the decoder gave up"):
        read(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL"}, "colour"),
        ({"BitsAllocated": 1}, "1 bits"),
    ],
)
def test_headers_are_judged_before_pixels(changes, said, tmp_path):
    frame = b64decode(FRAMES[JPEGLSLossless][0])
    datasets = pack(slices(np.stack([UNSIGNED] * 2)), JPEGLSLossless, [[frame]] * 2)
    folder = write([change(each, **changes) for each in datasets], tmp_path / "s")
    with pytest.raises(InputError, match=said):
        read(folder)
