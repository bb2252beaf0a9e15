"""Files that were damaged on their way: what is read is what was written, or nothing."""

from __future__ import annotations

import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aberra.errors import InputError
from aberra.io import read

DATA = np.random.default_rng(0).integers(0, 900, (9, 10, 11)).astype(np.int16)
RAW = nib.Nifti1Image(DATA, np.eye(4)).to_bytes()
ZIPPED = gzip.compress(RAW, 6)


def _put(folder, content):
    path = folder / "scan.nii.gz"
    path.write_bytes(content)
    return path


@settings(max_examples=200, deadline=None)
@given(bit=st.integers(0, 8 * len(ZIPPED) - 1))
def test_a_flipped_bit_is_never_read_as_other_voxels(bit, tmp_path_factory):
    damaged = bytearray(ZIPPED)
    damaged[bit // 8] ^= 1 << bit % 8
    path = _put(tmp_path_factory.getbasetemp(), damaged)
    try:
        found = read(path)
    except InputError as refused:
        assert "scan.nii.gz" in str(refused)  # noqa: PT017 - refusing is right, too
    else:  # in a name, a time or the operating system
        np.testing.assert_array_equal(found.data[0], DATA)


def test_a_wrong_checksum_is_a_damaged_file(tmp_path):
    for at in (-8, -5, -4, -1):  # checksum, length
        damaged = bytearray(ZIPPED)
        damaged[at] ^= 1
        with pytest.raises(InputError, match=r"checksum.*damaged, copy it again"):
            read(_put(tmp_path, damaged))


def test_voxels_that_inflate_to_the_right_length_but_other_values(tmp_path):
    """As a flipped bit in a literal does: only the checksum tells."""
    other = bytearray(RAW)
    other[1000] ^= 64
    body = gzip.compress(bytes(other))[:-8]
    trailer = zlib.crc32(RAW).to_bytes(4, "little") + len(RAW).to_bytes(4, "little")
    with pytest.raises(InputError, match="damaged, copy it again"):
        read(_put(tmp_path, body + trailer))


def test_a_damaged_header_is_called_damaged(tmp_path):
    other = bytearray(RAW)
    other[40] = 9  # dimensions
    body = gzip.compress(bytes(other))[:-8]
    trailer = zlib.crc32(RAW).to_bytes(4, "little") + len(RAW).to_bytes(4, "little")
    with pytest.raises(InputError, match="damaged, copy it again"):
        read(_put(tmp_path, body + trailer))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(share, tmp_path):
    with pytest.raises(InputError, match="cut off or damaged"):
        read(_put(tmp_path, ZIPPED[: int(len(ZIPPED) * share)]))
    plain = tmp_path / "scan.nii"
    plain.write_bytes(RAW[: max(352, int(len(RAW) * share))])
    with pytest.raises(InputError, match="missing"):
        read(plain)


def test_several_members_are_one_file_and_padding_is_none(tmp_path):
    half = len(RAW) // 2
    content = gzip.compress(RAW[:half]) + gzip.compress(RAW[half:])
    np.testing.assert_array_equal(read(_put(tmp_path, content)).data[0], DATA)
    np.testing.assert_array_equal(read(_put(tmp_path, content + bytes(512))).data[0], DATA)
    second = bytearray(content)
    second[-6] ^= 1
    with pytest.raises(InputError, match="damaged"):
        read(_put(tmp_path, second))


@pytest.mark.parametrize("rest", [b"garbage behind the end", b"\x1f\x8b", b"\x1f\x8b\x08 no member at all"])
def test_what_follows_the_end_is_damage(rest, tmp_path):
    with pytest.raises(InputError, match="damaged"):
        read(_put(tmp_path, ZIPPED + rest))


def test_a_second_scan_behind_the_first_is_refused(tmp_path):
    with pytest.raises(InputError, match="more than"):
        read(_put(tmp_path, ZIPPED + ZIPPED))


def test_a_header_of_a_terabyte_takes_no_memory(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[42:48] = np.array([32767] * 3, "<i2").tobytes()
    with pytest.raises(InputError, match="missing"):
        read(_put(tmp_path, gzip.compress(bytes(raw))))
    (tmp_path / "plain.nii").write_bytes(raw)
    with pytest.raises(InputError, match="missing"):
        read(tmp_path / "plain.nii")
