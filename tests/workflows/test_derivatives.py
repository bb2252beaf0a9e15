"""The derivative is the results under names that other tools know, and what a validator passes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import OutputError
from aberra.workflows.derivatives import write_derivatives
from aberra.workflows.detect import detect_cohort
from small_scans import bids_dataset, cohort, detector

SCANS = (
    "sub-01/ses-1/anat/sub-01_ses-1_FLAIR",
    "sub-01/ses-2/anat/sub-01_ses-2_FLAIR",
    "sub-02/anat/sub-02_acq-3d_FLAIR",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return detector("random", cohort(folder, split=True), folder / "model")


@pytest.fixture
def dataset(tmp_path):
    return bids_dataset(tmp_path / "raw", SCANS)


def made(model, dataset, out):
    detect_cohort(
        model,
        Cohort.from_paths(dataset).having(["flair"]),
        out=out / "aberra",
        channels=["flair"],
        report=False,
    )
    return write_derivatives(out / "aberra", dataset, out)


def test_each_scan_has_its_map_and_mask_on_its_own_grid(model, dataset, tmp_path):
    out = tmp_path / "out"
    write_derivatives(out / "aberra", dataset, out)
    assert made(model, dataset, out) == 2
    scan = nib.load(dataset / f"{SCANS[2]}.nii.gz")
    found = nib.load(out / "sub-02/anat/sub-02_acq-3d_desc-anomaly_FLAIR.nii.gz")
    np.testing.assert_allclose(found.affine, scan.affine, atol=1e-5)
    np.testing.assert_array_equal(
        np.asarray(found.dataobj), np.asarray(nib.load(out / "aberra/sub-02/map.nii.gz").dataobj)
    )
    sidecar = json.loads((out / "sub-02/anat/sub-02_acq-3d_desc-anomaly_mask.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-02/anat/sub-02_acq-3d_FLAIR.nii.gz"]
    assert sidecar["AberraThreshold"]["protocol"]


def test_a_participant_has_his_most_anomalous_session(model, dataset, tmp_path):
    out = tmp_path / "out"
    write_derivatives(out / "aberra", dataset, out)
    made(model, dataset, out)
    scores = {
        row["case"]: float(row["score"])
        for row in csv.DictReader((out / "aberra/scores.csv").read_text().splitlines())
    }
    rows = list(csv.DictReader((out / "participants.tsv").read_text().splitlines(), delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    assert float(rows[0]["score"]) == max(scores["sub-01_ses-1"], scores["sub-01_ses-2"])


def test_what_is_there_is_kept_and_what_is_not_ours_is_not_touched(model, dataset, tmp_path):
    out = tmp_path / "out"
    write_derivatives(out / "aberra", dataset, out)
    made(model, dataset, out)
    image = out / "sub-02/anat/sub-02_acq-3d_desc-anomaly_mask.nii.gz"
    image.unlink()
    image.write_bytes(b"corrected by hand")
    made(model, dataset, out)
    assert image.read_bytes() == b"corrected by hand"

    other = tmp_path / "other"
    (other / "sub-02/anat").mkdir(parents=True)
    (other / "sub-02/anat/notes.txt").write_text("mine")
    with pytest.raises(OutputError):
        write_derivatives(out / "aberra", dataset, other)


def test_a_disk_without_links_gets_copies(model, dataset, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr(os, "link", refused)
    out = tmp_path / "out"
    write_derivatives(out / "aberra", dataset, out)
    made(model, dataset, out)
    assert nib.load(out / "sub-02/anat/sub-02_acq-3d_desc-anomaly_mask.nii.gz").shape


def test_the_validator_passes_it(model, dataset, tmp_path):
    command = Path(sys.executable).with_name("bids-validator-deno")
    if not command.is_file():
        pytest.skip("bids-validator-deno is not installed (pip install bids-validator-deno)")
    out = tmp_path / "out"
    write_derivatives(out / "aberra", dataset, out)
    made(model, dataset, out)
    done = subprocess.run([command, str(out), "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    (out / "sub-02/anat/wrong.nii.gz").write_bytes(b"")
    done = subprocess.run([command, str(out), "--json"], capture_output=True, text=True, check=False)
    assert any(issue["severity"] == "error" for issue in json.loads(done.stdout)["issues"]["issues"])
