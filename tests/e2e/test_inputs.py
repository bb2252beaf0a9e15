"""Folders as people have them: what is a scan is scored, what is none is told, one bad scan does
not stop the others.
"""

from __future__ import annotations

import csv
import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from dicom_series import slices, write

pytestmark = pytest.mark.e2e


@pytest.fixture
def scan(job):
    """A phantom's FLAIR."""
    return min(job["unseen"].parent.glob("*_flair.nii.gz"))


def _rows(out):
    with (out / "scores.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _series(scan, folder, **changes):
    image = nib.load(scan)
    data = np.asarray(image.dataobj)
    data = np.round(data / data.max() * 2000).transpose(2, 1, 0)
    grid = image.affine[:, [2, 1, 0, 3]]
    return write(slices(data, grid, **changes), folder)


def test_a_bids_folder(call, job, scan, tmp_path):
    folder = tmp_path / "bids"
    (tmp_path / "real" / "anat").mkdir(parents=True)
    shutil.copy(scan, tmp_path / "real" / "anat" / "sub-01_FLAIR.nii.gz")
    (tmp_path / "real" / "anat" / "sub-01_physio.tsv.gz").write_bytes(gzip.compress(b"1\t2\n"))
    (folder / "sub-02").mkdir(parents=True)
    (folder / "sub-01").symlink_to(tmp_path / "real")
    (folder / "sub-02" / "sub-02_FLAIR.nii.gz").symlink_to("../.git/annex/objects/none")
    (folder / "dataset_description.json").write_text("{}")
    for name in ("CHANGES", "README"):
        (folder / name).write_bytes(b"")

    done = call("detect", job["model"], folder, "--out", tmp_path / "out")

    assert list(_rows(tmp_path / "out")) == ["sub-01"]
    assert "sub-02/sub-02_FLAIR.nii.gz" in done.stderr
    assert (tmp_path / "out/bids/sub-01/anat/sub-01_desc-anomaly_FLAIR.nii.gz").is_file()

    app = ("bids", folder, tmp_path / "app")
    nothing = call(*app, "group", check=False)
    assert "participant` first" in nothing.stderr
    call(*app, "participant", "--detector", job["model"], "--participant-label", "01")
    call(*app, "group")
    assert (tmp_path / "app/participants.tsv").read_text().splitlines()[1].startswith("sub-01\tsub-01\t")
    assert (tmp_path / "app/aberra/report.html").is_file()
    assert (
        "give other folders to `aberra detect`"
        in call("bids", tmp_path, tmp_path / "b", "group", check=False).stderr
    )


def test_files_of_one_series_are_scored_once(call, job, scan, tmp_path):
    files = sorted(_series(scan, tmp_path / "scan").iterdir())
    done = call("detect", job["model"], *files[:4], "--out", tmp_path / "out")
    assert list(_rows(tmp_path / "out")) == ["scan"]
    assert f"4 of {len(files)} files of one series" in done.stderr


def test_a_bad_scan_among_others_fails_alone(call, job, scan, tmp_path):
    _series(scan, tmp_path / "cohort" / "empty-values", RescaleSlope=None, RescaleIntercept=None)
    _series(scan, tmp_path / "cohort" / "good")
    _series(scan, tmp_path / "cohort" / "nowhere", ImagePositionPatient=None)
    cut = _series(scan, tmp_path / "cohort" / "cut")
    max(cut.iterdir()).write_bytes(b"")
    (tmp_path / "text.nii").write_text("no scan")

    done = call(
        "detect",
        job["model"],
        tmp_path / "cohort",
        tmp_path / "text.nii",
        scan,
        "--out",
        tmp_path / "out",
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    rows = _rows(tmp_path / "out")
    for case, said in (("nowhere", "no position"), ("cut", "is empty"), ("text", "not a NIfTI")):
        assert said in rows[case]["warnings"]
        assert rows[case]["score"] == ""
    assert rows["good"]["score"] == rows["empty-values"]["score"] != ""
    assert rows[scan.name.removesuffix(".nii.gz")]["score"] != ""


def test_a_changed_voxel_of_a_pair_is_not_kept(call, job, scan, tmp_path):
    image = nib.load(scan)
    data = np.asarray(image.dataobj, dtype=np.float32)
    nib.Nifti1Pair(data, image.affine).to_filename(tmp_path / "a.hdr")
    command = ("detect", job["model"], tmp_path / "a.hdr", "--out", tmp_path / "out")
    call(*command)
    assert "1 kept" in call(*command).stdout
    nib.Nifti1Pair(data * 0.9, image.affine).to_filename(tmp_path / "a.hdr")
    done = call(*command, check=False)
    assert done.returncode == 1
    assert "--overwrite" in done.stderr


def test_parts_of_a_cohort_make_one_folder(call, job, tmp_path):
    detect = ("detect", job["model"], job["unseen"], "--out")
    call(*detect, tmp_path / "whole")
    for part in ("2/2", "1/2"):
        call(*detect, tmp_path / "parts", "--part", part)
    whole, parts = (
        {case: row["score"] for case, row in _rows(tmp_path / name).items()} for name in ("whole", "parts")
    )
    assert parts == whole
    assert list(parts) == list(whole)  # most anomalous first, whoever did them
    assert "as in 1/4" in call(*detect, tmp_path / "parts", "--part", "9/8", check=False).stderr
