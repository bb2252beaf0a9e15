"""Which files are a series: nothing that belongs to it is dropped without a word."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from dicom_series import bare, brain, change, save, slices, write
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from aberra.errors import InputError
from aberra.io import files_of, read

DATA = brain()


@pytest.fixture
def scan(tmp_path):
    return write(slices(DATA), tmp_path / "scan")


def _files(folder):
    return sorted(folder.iterdir())


def _empty(path):
    path.write_bytes(b"")


def _cut_in_the_preamble(path):
    path.write_bytes(path.read_bytes()[:100])


def _cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:400])


def _cut_in_the_pixels(path):
    path.write_bytes(path.read_bytes()[:-30])


def _cut_before_the_pixels(path):
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\xe0\x7f\x10\x00")])


def _zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def _text(path):
    path.write_text("404 not found")


def _link_to_nothing(path):
    path.unlink()
    path.symlink_to("../.git/annex/objects/none")


@pytest.mark.parametrize("name", ["IM{:04d}.dcm", "IM{:04d}", "1.2.826.0.{}", "{}.IMA"])
@pytest.mark.parametrize(
    "spoil",
    [
        _empty,
        _cut_in_the_preamble,
        _cut_in_the_header,
        _cut_in_the_pixels,
        _cut_before_the_pixels,
        _zeros,
        _link_to_nothing,
    ],
)
@pytest.mark.parametrize("which", [slice(0, 1), slice(-1, None), slice(-2, None)])
def test_a_loss_at_an_end_is_refused_by_name(spoil, which, name, tmp_path):
    files = _files(write(slices(DATA), tmp_path / "scan", name))[which]
    for file in files:
        spoil(file)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "scan")
    assert files[0].name in str(caught.value)
    assert "decompress" not in str(caught.value)


def test_a_text_called_dcm_is_refused(scan):
    _text(scan / "IM0005.dcm")
    with pytest.raises(InputError, match=r"IM0005\.dcm: is no DICOM file"):
        read(scan)


def test_the_pixels_that_are_there_are_counted(scan):
    _cut_in_the_pixels(scan / "IM0005.dcm")
    with pytest.raises(InputError, match=r"IM0005\.dcm: cut off in the pixels \(50 of 80 bytes\)"):
        read(scan)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("which", [slice(None), slice(1, None, 2)])
def test_files_without_preamble_are_slices(which, syntax, tmp_path):
    scan = write(slices(DATA, syntax=syntax), tmp_path / "scan")
    for file in _files(scan)[which]:
        bare(file)
    np.testing.assert_array_equal(read(scan).data[0], DATA)
    np.testing.assert_array_equal(read(scan / "IM0001.dcm").data[0], DATA)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_other_encodings_of_the_dataset(syntax, tmp_path):
    swapped = np.dtype(">u2" if syntax == ExplicitVRBigEndian else "<u2")
    scan = write(slices(DATA, dtype=swapped, syntax=syntax), tmp_path / "scan")
    np.testing.assert_array_equal(read(scan).data[0], DATA)


def test_what_lies_beside_slices_is_harmless(scan):
    for name in ("Thumbs.db", ".DS_Store", "._IM0001.dcm", "preview.jpg", "notes.txt", "report.pdf"):
        (scan / name).write_bytes(b"\x00\x01\x02\xff")
    for name in ("VERSION", "README", "readme.txt", "LOCKFILE"):
        (scan / name).write_text("1.0, für alle")
    for name in ("empty.txt", "CHANGES"):
        (scan / name).write_bytes(b"")
    (scan / "other").mkdir()
    volume = read(scan)
    np.testing.assert_array_equal(volume.data[0], DATA)
    assert volume.provenance["warnings"] == []
    assert len(files_of(scan)) == len(DATA)


def test_names_without_suffix_let_a_text_be(tmp_path):
    scan = write(slices(DATA), tmp_path / "scan", "{}")
    (scan / "export log").write_text("all slices exported ✓\n" * 30, encoding="utf-8")
    np.testing.assert_array_equal(read(scan).data[0], DATA)


def _object(storage, **values):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, "1.2.3.99"
    return change(dataset, **values)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Softcopy Presentation State"),
        ("1.2.840.10008.1.3.10", "Media Storage Directory"),
    ],
)
def test_objects_that_are_no_images_are_left_out_and_named(storage, said, scan):
    save(_object(storage, SeriesInstanceUID="1.2.3.77"), scan / "object.dcm")
    volume = read(scan)
    np.testing.assert_array_equal(volume.data[0], DATA)
    (note,) = volume.provenance["warnings"]
    assert "object.dcm" in note
    assert said in note


def test_a_slice_of_another_series_is_named(scan):
    (dataset,) = slices(DATA[:1])
    save(change(dataset, SeriesInstanceUID="1.9"), scan / "IM0005.dcm")
    with pytest.raises(InputError, match=r"1\.9 \(1 files\), as IM0005\.dcm"):
        read(scan)
    alone = read(scan / "IM0005.dcm")
    assert alone.shape[0] == 1


def test_a_slice_without_series_is_named(scan):
    dataset = slices(DATA)[5]
    save(change(dataset, SeriesInstanceUID=None), scan / "IM0005.dcm")
    with pytest.raises(InputError, match=r"none \(1 files\), as IM0005\.dcm"):
        read(scan)


def test_series_without_identifier_are_one(tmp_path):
    scan = write(slices(DATA, SeriesInstanceUID=...), tmp_path / "scan")
    np.testing.assert_array_equal(read(scan).data[0], DATA)
    np.testing.assert_array_equal(read(scan / "IM0002.dcm").data[0], DATA)


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (slice(2, None), "numbered 3 to 6.*1, 2"),
        (slice(None, None, 2), "numbered 1 to 5.*2, 4"),
    ],
)
def test_numbers_that_are_not_there_are_told(which, said, tmp_path):
    volume = read(write(slices(DATA)[which], tmp_path / "scan"))
    (note,) = volume.provenance["warnings"]
    assert re.search(said, note)


@pytest.mark.parametrize("name", ["ImagesInAcquisition", "NumberOfSlices"])
def test_fewer_slices_than_the_header_counts_are_told(name, tmp_path):
    datasets = slices(DATA, **{name: 6})
    assert read(write(datasets, tmp_path / "all")).provenance["warnings"] == []
    (note,) = read(write(datasets[:4], tmp_path / "some")).provenance["warnings"]
    assert f"counts 6 slices ({name}), 4 are here" in note


@pytest.mark.parametrize("first", [0, 1001, 2**31 - 10, -5])
def test_numbering_may_begin_anywhere(first, tmp_path):
    datasets = slices(DATA)
    for number, dataset in enumerate(datasets):
        dataset.InstanceNumber = first + number
    assert read(write(datasets, tmp_path / "scan")).provenance["warnings"] == []


@pytest.mark.parametrize("given", ["folder", "file", "sibling"])
def test_a_file_that_may_not_be_read_is_named(given, scan, monkeypatch):
    closed, opened = scan / "IM0003.dcm", Path.open

    def guarded(self, *arguments, **options):
        if self == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    with pytest.raises(InputError, match=r"IM0003\.dcm: cannot be read \(Permission denied\)"):
        read({"folder": scan, "file": closed, "sibling": scan / "IM0001.dcm"}[given])


def test_a_folder_that_may_not_be_read_is_named(scan, monkeypatch):
    def guarded(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "iterdir", guarded)
    with pytest.raises(InputError, match=r"scan: cannot be read \(Permission denied\)"):
        read(scan)


def test_a_linked_slice_is_a_slice(scan, tmp_path):
    (scan / "IM0005.dcm").rename(tmp_path / "elsewhere")
    (scan / "IM0005.dcm").symlink_to(tmp_path / "elsewhere")
    np.testing.assert_array_equal(read(scan).data[0], DATA)
    assert (tmp_path / "elsewhere").resolve() in files_of(scan)
