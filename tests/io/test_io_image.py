from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from aberra.errors import InputError
from aberra.io import read


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_are_one_slice(suffix, dtype, tmp_path):
    pixels = np.arange(20, dtype=dtype).reshape(4, 5) * (10 if dtype == np.uint8 else 3000)
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}")
    volume = read(tmp_path / f"x.{suffix}", channel="xray")
    assert volume.data.shape == (1, 1, 4, 5)
    np.testing.assert_array_equal(volume.data[0, 0], pixels)
    assert volume.orientation == "SPL"
    assert volume.is_image


def test_equal_channels_are_grey_and_colour_is_refused(tmp_path):
    grey = np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png").data[0, 0], grey[..., 0])
    grey[0, 0, 1] = 200
    Image.fromarray(grey).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="colour"):
        read(tmp_path / "colour.png")


def test_several_pages_and_damaged_files_are_refused(tmp_path):
    page = Image.fromarray(np.zeros((4, 4), np.uint8))
    page.save(tmp_path / "pages.tiff", save_all=True, append_images=[page])
    with pytest.raises(InputError, match="2 pages"):
        read(tmp_path / "pages.tiff")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "cut.png")


def _png(path, pixels, colour):
    """A PNG of 16 bits, which Pillow cannot write in colour."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    )
    return path


GREY = np.random.default_rng(0).integers(0, 256, (12, 9)).astype(np.uint8)


def test_sixteen_bits_are_kept_or_refused(tmp_path):
    deep = (np.arange(108).reshape(12, 9) * 601).astype(np.uint16)
    np.testing.assert_array_equal(read(_png(tmp_path / "grey.png", deep, 0)).data[0, 0], deep)
    for name, colour, channels in (("rgb", 2, 3), ("alpha", 4, 2), ("rgba", 6, 4)):
        path = _png(tmp_path / f"{name}.png", np.repeat(deep[..., None], channels, 2), colour)
        with pytest.raises(InputError, match="16-bit"):
            read(path)


def test_alpha_that_hides_nothing_is_left_out(tmp_path):
    for mode in ("LA", "RGBA"):
        image = Image.fromarray(GREY).convert(mode)
        image.save(tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(read(tmp_path / f"{mode}.png").data[0, 0], GREY)
        image.putalpha(Image.fromarray(GREY))
        image.save(tmp_path / f"{mode}.png")
        with pytest.raises(InputError, match="transparent"):
            read(tmp_path / f"{mode}.png")


def test_palettes_bits_and_print_colours(tmp_path):
    Image.fromarray(GREY).convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read(tmp_path / "palette.png").data[0, 0], GREY)
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read(tmp_path / "bits.png").data[0, 0], GREY > 100)
    Image.fromarray(GREY).convert("CMYK").save(tmp_path / "print.tiff")
    np.testing.assert_array_equal(read(tmp_path / "print.tiff").data[0, 0], GREY)
    colours = Image.fromarray(np.dstack([GREY, GREY, 255 - GREY]))
    for name in ("palette.png", "print.tiff"):
        colours.convert("P" if name.startswith("pal") else "CMYK").save(tmp_path / name)
        with pytest.raises(InputError, match="colour"):
            read(tmp_path / name)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4"])
def test_tiffs_of_every_type_have_their_values(dtype, tmp_path):
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype[0] != "f" else (-1.5, 3e5)
    pixels = np.linspace(low, high, 108).reshape(12, 9).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tiff", pixels)
    np.testing.assert_array_equal(read(tmp_path / "x.tiff").data[0, 0], pixels.astype(np.float32))


def test_tiffs_that_store_dark_as_bright(tmp_path):
    tifffile.imwrite(tmp_path / "a.tiff", 255 - GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "a.tiff").data[0, 0], GREY)
    tifffile.imwrite(tmp_path / "b.tiff", GREY.astype(np.uint16), photometric="miniswhite")
    with pytest.raises(InputError, match="WhiteIsZero"):
        read(tmp_path / "b.tiff")


def test_holes_in_a_float_image(tmp_path):
    pixels = GREY.astype(np.float32)
    pixels[2, 3] = np.nan
    Image.fromarray(pixels).save(tmp_path / "x.tiff")
    with pytest.raises(InputError, match="1 NaN and 0 Inf"):
        read(tmp_path / "x.tiff")


def test_turned_images_are_read_as_stored_with_a_warning(tmp_path):
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.png", exif=exif)
    found = read(tmp_path / "x.png")
    np.testing.assert_array_equal(found.data[0, 0], GREY)
    assert "EXIF orientation 6" in found.provenance["warnings"][0]


def test_large_images_are_read_without_a_warning_and_bombs_refused(tmp_path):
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    assert read(tmp_path / "large.png").shape == (1, 9_000, 10_000)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="smaller"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tiff"])
def test_cut_images_are_refused(name, tmp_path):
    Image.fromarray(np.tile(GREY, (20, 20))).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for share in (0.1, 0.5, 0.95):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / name)


def test_a_line_of_pixels_is_no_image(tmp_path):
    Image.fromarray(GREY[:1]).save(tmp_path / "x.png")
    with pytest.raises(InputError, match="a line of 9 pixel"):
        read(tmp_path / "x.png")


def test_a_flipped_bit_in_a_png_is_never_read_as_other_pixels(tmp_path):
    whole = _png(tmp_path / "x.png", (np.arange(108).reshape(12, 9) * 601).astype(np.uint16), 0).read_bytes()
    for bit in range(8 * 8, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x.png").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "x.png")


def test_a_checksum_that_only_the_chunk_has(tmp_path):
    """Other pixels that inflate well: the decoder has its last row before the stream's own
    checksum.
    """
    path = tmp_path / "x.png"
    Image.fromarray(GREY).save(path)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"IDAT")
    length = int.from_bytes(whole[at - 4 : at], "big")
    other = zlib.compress(bytes(len(GREY) * (GREY.shape[1] + 1)))[:-4]
    whole[at - 4 : at + 4 + length] = len(other).to_bytes(4, "big") + b"IDAT" + other
    path.write_bytes(whole)
    with pytest.raises(InputError, match="checksum"):
        read(path)
