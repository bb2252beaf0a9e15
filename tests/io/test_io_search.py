"""Scans in folders: what is found, what is left out with a word, what is left out without."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from aberra.errors import InputError
from aberra.io import find_scans
from dicom_series import brain, change, save, slices, write


@pytest.fixture
def bids(tmp_path):
    """A BIDS folder with one scan."""
    folder = tmp_path / "bids"
    _nifti(folder / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz")
    (folder / "dataset_description.json").write_text("{}")
    return folder


SUB_01 = "sub-01_anat_sub-01_FLAIR"


def _nifti(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), path)
    return path


def _found(folder):
    warnings = []
    return [name for name, _ in find_scans(folder, warnings)], warnings


def _empty_notes(folder):
    for name in ("CHANGES", "README", "participants.tsv", "sub-01/anat/sub-01_FLAIR.json"):
        (folder / name).write_bytes(b"")


def _tables(folder):
    for name in ("physio.tsv.gz", "events.tsv.gz"):
        (folder / "sub-01" / name).write_bytes(gzip.compress(b"1\t2\n"))
    for name in ("dwi.bval", "dwi.bvec", "x.json", "participants.tsv", "code.py"):
        (folder / name).write_text("0 1000")


def _hidden(folder):
    _nifti(folder / ".git" / "annex" / "objects" / "MD5E-s1.nii.gz")
    _nifti(folder / ".hidden.nii.gz")


def _loops(folder):
    (folder / "sub-01" / "up").symlink_to(folder)
    (folder / "sub-01" / "self").symlink_to(folder / "sub-01")
    (folder / "sub-01" / "out").symlink_to(folder.parent)
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")


@pytest.mark.parametrize("clutter", [_empty_notes, _tables, _hidden, _loops])
def test_what_is_no_scan_is_left_out(clutter, bids):
    clutter(bids)
    assert _found(bids)[0] == [SUB_01]


def _link(folder, path):
    path.symlink_to("../.git/annex/objects/none")


def _pointer(folder, path):
    path.write_text("/annex/objects/MD5E-s100--abc.nii.gz\n")


def _large_file_pointer(folder, path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 100\n")


@pytest.mark.parametrize("stub", [_link, _pointer, _large_file_pointer])
def test_content_that_was_not_fetched_is_told(stub, bids):
    (bids / "sub-02").mkdir()
    stub(bids, bids / "sub-02" / "sub-02_FLAIR.nii.gz")
    names, (note,) = _found(bids)
    assert names == [SUB_01]
    assert "sub-02/sub-02_FLAIR.nii.gz" in note
    assert "datalad get" in note


def test_a_series_that_was_not_fetched_is_told(bids):
    (bids / "sub-02").mkdir()
    for index in range(3):
        (bids / "sub-02" / f"IM{index}.dcm").symlink_to(f"../.git/annex/objects/{index}")
    names, (note,) = _found(bids)
    assert names == [SUB_01]
    assert "3 file(s) whose content is not here" in note


def test_a_dangling_link_that_is_no_scan_is_harmless(bids):
    (bids / "sub-01" / "x.json").symlink_to("nowhere")
    assert _found(bids) == ([SUB_01], [])


def test_linked_folders_are_searched(bids, tmp_path):
    (bids / "sub-01").rename(tmp_path / "real")
    (bids / "sub-01").symlink_to(tmp_path / "real")
    assert _found(bids) == ([SUB_01], [])


def test_a_folder_is_listed_once_and_the_other_link_named(bids, tmp_path):
    _nifti(tmp_path / "store" / "x.nii")
    (bids / "one").symlink_to(tmp_path / "store")
    (bids / "two").symlink_to(tmp_path / "store")
    (bids / "again").symlink_to(bids / "sub-01")
    names, (note,) = _found(bids)
    assert names == ["one_x", SUB_01]
    assert "again, two" in note


def test_other_data_of_a_bids_folder_is_told(bids):
    _nifti(bids / "derivatives" / "fmriprep" / "sub-01_T1w.nii.gz")
    _nifti(bids / "sourcedata" / "x.nii")
    names, (note,) = _found(bids)
    assert names == [SUB_01]
    assert "derivatives, sourcedata" in note
    assert _found(bids / "derivatives") == (["fmriprep_sub-01_T1w"], [])


def test_derivatives_outside_bids_are_scans(tmp_path):
    _nifti(tmp_path / "derivatives" / "a.nii")
    assert _found(tmp_path) == (["derivatives_a"], [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no scan"),
        lambda path: path.write_bytes(path.read_bytes()[:90]),
    ],
)
@pytest.mark.parametrize("name", ["bad.nii.gz", "bad.nii", "bad.png", "bad.dcm"])
def test_what_is_called_a_scan_is_listed_so_that_reading_says_why(name, spoil, tmp_path):
    _nifti(tmp_path / "good.nii.gz")
    (tmp_path / name).write_bytes(_nifti(tmp_path / "x.nii").read_bytes())
    (tmp_path / "x.nii").unlink()
    spoil(tmp_path / name)
    assert _found(tmp_path) == (["bad", "good"], [])


def test_formats_that_are_not_read_are_told(tmp_path):
    _nifti(tmp_path / "good.nii.gz")
    (tmp_path / "brain.mgz").write_bytes(gzip.compress(b"\0\0\0\1" * 100))
    for name in ("a.nrrd", "b.mha", "c.dcm.gz", "d.zip"):
        (tmp_path / name).write_bytes(b"\0\1\2\3" * 100)
    names, (note,) = _found(tmp_path)
    assert names == ["good"]
    assert "5 file(s) of formats that are not read" in note
    assert "brain.mgz" in note


def test_a_pair_is_one_scan(tmp_path):
    for name in ("a.hdr", "b.hdr.gz"):
        nib.Nifti1Pair(np.ones((3, 4, 5), np.int16), np.eye(4)).to_filename(tmp_path / name)
    found = find_scans(tmp_path)
    assert found == [("a", tmp_path / "a.hdr"), ("b", tmp_path / "b.hdr.gz")]
    (tmp_path / "a.hdr").unlink()
    assert find_scans(tmp_path)[0] == ("a", tmp_path / "a.img")  # reading says that its header is missing


def test_a_folder_of_slices_is_one_scan_and_what_lies_beside_is_told(tmp_path):
    write(slices(brain()), tmp_path / "p 1" / "T1 mprage")
    write(slices(brain()), tmp_path / "p 2")
    write(slices(brain()), tmp_path / "p 2" / "more")
    _nifti(tmp_path / "p 2" / "mask.nii.gz")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "p 2" / "preview.png")
    names, (note,) = _found(tmp_path)
    assert names == ["p_1_T1_mprage", "p_2", "p_2_more"]
    assert "NIfTI file(s) beside DICOM slices left out (p 2/mask.nii.gz)" in note


def test_a_dicom_directory_does_not_make_a_folder_a_series(tmp_path):
    dataset = change(slices(brain())[0], SOPClassUID="1.2.840.10008.1.3.10", PixelData=..., Rows=...)
    save(dataset, tmp_path / "DICOMDIR")
    (tmp_path / "viewer").write_bytes(b"\x7fELF\0\0" * 99)
    write(slices(brain()), tmp_path / "IMAGES" / "SE1", "IM{}")
    _nifti(tmp_path / "extra.nii")
    names, (note,) = _found(tmp_path)
    assert names == ["IMAGES_SE1", "extra"]
    assert "DICOMDIR" in note


def test_slices_that_are_all_empty_are_listed_as_one(tmp_path):
    for index in range(4):
        path = tmp_path / "s" / f"IM{index}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert _found(tmp_path) == (["s"], [])


def test_a_folder_that_may_not_be_read_is_told(bids, monkeypatch):
    closed, scandir = bids / "sub-02", os.scandir
    closed.mkdir()

    def guarded(path):
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    names, (note,) = _found(bids)
    assert names == [SUB_01]
    assert "Permission denied" in note
    assert "sub-02" in note
    with pytest.raises(InputError, match=r"sub-02: cannot be read \(Permission denied\)"):
        find_scans(closed)
