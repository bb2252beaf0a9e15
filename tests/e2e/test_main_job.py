"""From a healthy cohort and a scan to a calibrated anomaly map, on the command line."""

from __future__ import annotations

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.e2e


def test_the_main_job(run, job, tmp_path):
    results = tmp_path / "results"
    run("detect", job["model"], job["unseen"], "--out", results)
    rows = list(csv.DictReader((results / "scores.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        "case",
        "path",
        "score",
        "p",
        "n_components",
        "largest_mm3",
        "seconds",
        "warnings",
    ]
    assert len(rows) == 4
    for row in rows:
        folder = results / row["case"]
        source, found = nib.load(row["path"]), nib.load(folder / "map.nii.gz")
        assert found.shape == source.shape
        assert found.get_data_dtype() == np.float32
        np.testing.assert_allclose(found.affine, source.affine, atol=1e-5)
        assert nib.load(folder / "mask.nii.gz").shape == source.shape
        assert nib.load(folder / "reconstruction.nii.gz").shape == source.shape
        saved = json.loads((folder / "result.json").read_text())
        assert 0 < saved["p"] <= 1
        assert saved["threshold"]["protocol"] == "healthy-fpr-1"
    assert (results / "report.html").stat().st_size > 10_000

    run("evaluate", results, job["unseen"])
    assert (results / "evaluation" / "metrics.json").is_file()

    before = (results / "report.html").read_bytes()
    (results / "report.html").unlink()
    run("report", results, "--manifest", job["unseen"])
    assert (results / "report.html").read_bytes() == before


def test_calibrate_leaves_learnt_cases_out_and_accepts_groups(run, job, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(job["model"], model)
    run("phantom", tmp_path / "more", "--cases", 40, "--spacing", 8, "--seed", 3)
    done = run("calibrate", model, tmp_path / "more" / "manifest.csv", "--group", "sex")
    assert "40 healthy cases" in done.stdout
    calibration = json.loads((model / "calibration.json").read_text())
    assert calibration["n_cases"] == 40
    assert calibration["group_by"] == "sex"

    done = run("calibrate", model, job["healthy"])
    assert "left out" in done.stdout


def test_detect_takes_files_folders_and_several_paths(run, job, tmp_path):
    scan = next(job["unseen"].parent.glob("*_flair.nii.gz"))
    loose = tmp_path / "loose"
    loose.mkdir()
    shutil.copy(scan, loose / "one.nii.gz")
    run("detect", job["model"], loose, "--out", tmp_path / "a")
    run("detect", job["model"], loose / "one.nii.gz", "--out", tmp_path / "b")
    first = nib.load(tmp_path / "a" / "one" / "map.nii.gz").get_fdata()
    np.testing.assert_array_equal(first, nib.load(tmp_path / "b" / "one" / "map.nii.gz").get_fdata())


def test_methods_as_json(run):
    found = json.loads(run("methods", "--json").stdout)
    assert {"intensity", "zmap", "constant", "random", "ae", "ae-spatial", "vae", "dae"} <= {
        each["name"] for each in found
    }
    for each in found:
        assert {"name", "learns_from", "model", "score", "reference", "deviations"} <= set(each)


def test_doctor_compares_with_a_model(run, job):
    scan = next(job["unseen"].parent.glob("*_flair.nii.gz"))
    done = run("doctor", scan, "--model", job["model"])
    assert "spacing" in done.stdout.lower()
