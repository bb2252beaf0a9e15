"""What an input is: all the files that reading it reads, and all their bytes."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from aberra.errors import InputError
from aberra.io import files as files_module
from aberra.io import files_of, input_hash, is_scan, read, sniff
from dicom_series import brain, change, save, slices, write

DATA = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def _pair(folder, header="x.hdr", data="x.img", kind=nib.Nifti1Pair, values=DATA):
    """A NIfTI pair under any names."""
    folder.mkdir(parents=True, exist_ok=True)
    image = kind(values, np.diag([2.0, 3, 4, 1]))
    image.to_filename(folder / "plain.hdr")
    for suffix, name in ((".hdr", header), (".img", data)):
        content = (folder / f"plain{suffix}").read_bytes()
        (folder / f"plain{suffix}").unlink()
        (folder / name).write_bytes(
            gzip.compress(content, mtime=0) if name.lower().endswith(".gz") else content
        )
    return folder / header, folder / data


@pytest.mark.parametrize(
    "names",
    [("x.hdr", "x.img"), ("x.hdr.gz", "x.img.gz"), ("X.HDR", "X.IMG"), ("a.b.hdr", "a.b.img")],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("given", [0, 1])
def test_both_files_of_a_pair_are_the_input(names, kind, given, tmp_path):
    pair = _pair(tmp_path, *names, kind=kind)
    assert sniff(pair[given]) == "nifti"
    assert files_of(pair[given]) == sorted(pair)
    np.testing.assert_array_equal(read(pair[given]).data[0], DATA)
    before = input_hash(pair[given])
    changed = DATA.copy()
    changed[1, 2, 3] += 1
    _pair(tmp_path, *names, kind=kind, values=changed)
    assert input_hash(pair[given]) != before
    assert input_hash(pair[0]) == input_hash(pair[1])


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_half_a_pair_is_named(kind, tmp_path):
    header, data = _pair(tmp_path, kind=kind)
    data.unlink()
    with pytest.raises(InputError, match=r"x\.hdr: its data file x\.img is missing"):
        read(header)
    header, data = _pair(tmp_path, kind=kind)
    header.unlink()
    with pytest.raises(InputError, match=r"x\.img: its header x\.hdr is missing"):
        read(data)


def test_an_analyze_header_is_refused(tmp_path):
    nib.AnalyzeImage(DATA, np.eye(4)).to_filename(tmp_path / "x.hdr")
    for name in ("x.hdr", "x.img"):
        with pytest.raises(InputError, match="ANALYZE"):
            read(tmp_path / name)


def test_a_single_file_is_its_own_input(tmp_path):
    nib.save(nib.Nifti1Image(DATA, np.eye(4)), tmp_path / "a.nii")
    assert files_of(tmp_path / "a.nii") == [tmp_path / "a.nii"]
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    assert files_of(tmp_path / "link.nii") == [tmp_path / "a.nii"]
    assert input_hash(tmp_path / "link.nii") == input_hash(tmp_path / "a.nii")


def test_what_cannot_be_read_stands_for_itself(tmp_path):
    (tmp_path / "empty.nii").write_bytes(b"")
    for name in ("nowhere", "empty.nii", "."):
        assert files_of(tmp_path / name) == [(tmp_path / name).resolve()]
    for name in ("nowhere", "."):
        with pytest.raises(InputError, match="cannot be read"):
            input_hash(tmp_path / name)


def test_a_series_is_all_its_files_however_it_is_given(tmp_path):
    folder = write(slices(brain()), tmp_path / "s")
    expected = sorted(folder.iterdir())
    (folder / "Thumbs.db").write_bytes(b"\0\1")
    other = slices(brain(seed=1))
    for index, dataset in enumerate(other[:2]):
        save(dataset, tmp_path / f"x{index}")
    assert files_of(folder) == files_of(folder / "IM0003.dcm") == expected
    whole = input_hash(folder)
    assert input_hash(folder / "IM0003.dcm") == whole
    (folder / "notes.txt").write_text("seen")
    assert input_hash(folder) == whole

    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "IM0000.dcm").rename(tmp_path / "copy" / "first.dcm")
    assert input_hash(tmp_path / "copy") == whole


@pytest.mark.parametrize("given", ["s", "s/IM0000.dcm"])
def test_any_voxel_of_a_series_is_its_identity(given, tmp_path):
    datasets = slices(brain())
    write(datasets, tmp_path / "s")
    before = input_hash(tmp_path / given)
    pixels = bytearray(datasets[4].PixelData)
    pixels[7] ^= 1
    save(change(datasets[4], PixelData=bytes(pixels)), tmp_path / "s" / "IM0004.dcm")
    assert input_hash(tmp_path / given) != before


def test_a_file_of_one_of_two_series_stands_for_its_own(tmp_path):
    write(slices(brain()), tmp_path, "a{}.dcm")
    write(slices(brain(seed=1)), tmp_path, "b{}.dcm")
    assert [path.name for path in files_of(tmp_path / "b2.dcm")] == [f"b{index}.dcm" for index in range(6)]


def test_damaged_files_of_a_series_are_part_of_it(tmp_path):
    folder = write(slices(brain()), tmp_path / "s")
    (folder / "IM0005.dcm").write_bytes(b"")
    (folder / "IM0004.dcm").write_bytes((folder / "IM0004.dcm").read_bytes()[:300])
    assert len(files_of(folder)) == len(files_of(folder / "IM0000.dcm")) == 6
    (folder / "IM0005.dcm").unlink()
    for given in (folder, folder / "IM0000.dcm"):
        with pytest.raises(InputError, match=r"cut off before their pixels: IM0004\.dcm"):
            read(given)


def _age(path, seconds):
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


@pytest.mark.parametrize("replaced", [False, True])
def test_a_change_that_keeps_size_and_time_is_seen(replaced, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "FRESH", 0.0)  # as if the file had been there for long
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(DATA, np.eye(4)), path)
    _age(path, 1000)
    before = input_hash(path)
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    time.sleep(0.05)
    if replaced:
        (tmp_path / "b").write_bytes(content)
        (tmp_path / "b").replace(path)
    else:
        path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert path.stat().st_size == status.st_size
    assert input_hash(path) != before


def test_a_fresh_file_is_read_again_whatever_its_stamp(tmp_path, monkeypatch):
    """File systems keep times coarsely: two changes within a tick cannot be told apart by them."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 400)
    monkeypatch.setattr(files_module, "_stamp", lambda status: (status.st_size,))
    before = input_hash(path)
    path.write_bytes(b"y" * 400)
    assert input_hash(path) != before


def test_old_files_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "FRESH", 0.0)
    path = tmp_path / "a"
    path.write_bytes(b"x" * 400)
    read_files = []
    monkeypatch.setattr(files_module, "file_hash", lambda file: read_files.append(file) or "0")
    assert input_hash(path) == input_hash(path)
    assert read_files == [path]


@pytest.mark.parametrize(
    ("name", "inside", "kind"),
    [
        ("physio.tsv.gz", b"1\t2\n", None),
        ("scan.bin.gz", b"nifti", "nifti"),
        ("text.nii.gz", b"no scan", "nifti"),  # reading says what is wrong
        ("archive.gz", b"", None),
    ],
)
def test_a_gzip_is_what_is_in_it(name, inside, kind, tmp_path):
    if inside == b"nifti":
        nib.save(nib.Nifti1Image(DATA, np.eye(4)), tmp_path / "x.nii")
        inside = (tmp_path / "x.nii").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(inside))
    assert is_scan(tmp_path / name) == (kind is not None)


def test_odd_places(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    (tmp_path / "dangling.nii").symlink_to("nowhere.nii")
    for name, said in (
        ("pipe.nii", "neither a file nor a folder"),
        ("loop.nii", "cannot be read"),
        ("dangling.nii", "a link to nowhere.nii, which is not there"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)
        assert len(files_of(Path(tmp_path, name))) == 1
