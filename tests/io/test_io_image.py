from __future__ import annotations

import numpy as np
import pytest
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
