"""What is packaged runs, and is what the challenge expects."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import CalibrationError, InputError, MismatchError, OutputError
from aberra.mood.package import package
from aberra.mood.predict import predict_folder, unit_of
from aberra.output import kind_of
from aberra.volume import Volume
from small_scans import cohort, detector, scan


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A detector that is calibrated on six scans."""
    folder = tmp_path_factory.mktemp("model")
    manifest = cohort(folder, cases=6)
    detector("intensity", manifest, folder / "model").calibrate(Cohort.read(manifest))
    return folder / "model"


@pytest.fixture(scope="module")
def submission(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("submission") / "out"
    package(model, out=out)
    return out


def test_a_submission_has_what_the_challenge_expects(submission):
    workspace = submission / "workspace"
    for task in ("sample", "pixel"):
        for dataset in ("brain", "abdom"):
            script = workspace / f"run_{task}_{dataset}.sh"
            assert script.stat().st_mode & 0o111
            assert f"{task} brain" in script.read_text()  # one detector for both
    assert kind_of(submission) == "submission"
    docker = (submission / "Dockerfile").read_text()
    wheel = next(submission.glob("*.whl"))
    assert wheel.name in docker
    assert "COPY workspace /workspace" in docker
    pins = (submission / "requirements.txt").read_text().split()
    assert any(pin.startswith("torch==") for pin in pins)
    assert not any("+" in pin for pin in pins)
    facts = json.loads((submission / "submission.json").read_text())
    assert facts["transforms"]["brain"]["score"].startswith("rank among the healthy scores")


def test_the_entry_script_imports_aberra_and_the_standard_library_alone(submission):
    tree = ast.parse((submission / "workspace" / "predict.py").read_text())
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
             for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}  # fmt: skip
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"aberra"}


def test_the_detector_is_the_one_that_was_packaged(model, submission):
    packed = Detector.load(submission / "workspace" / "detectors" / "brain")
    assert packed.identity["fingerprint"] == Detector.load(model).identity["fingerprint"]


def test_the_wheel_installs_and_has_this_code(submission, tmp_path):
    wheel = next(submission.glob("*.whl"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    code = "import aberra, aberra.mood.predict; print(aberra.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path))


def test_predictions_are_in_the_unit_and_in_the_detectors_order(model, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    for seed in range(3):
        plain = scan(10 + seed)
        plain.with_(data=plain.data * np.float32(1 + 0.5 * seed)).write(source / f"s{seed}.nii.gz")
    assert predict_folder(model, source, target, "pixel") == 0
    assert predict_folder(model, source, target, "sample") == 0
    loaded = Detector.load(model)
    for seed in range(3):
        analysis = loaded.analyse(Volume.read(source / f"s{seed}.nii.gz"))
        found = Volume.read(target / f"s{seed}.nii.gz")
        assert found.same_grid(Volume.read(source / f"s{seed}.nii.gz"))
        assert 0 <= found.data.min() <= found.data.max() <= 1
        np.testing.assert_allclose(found.data[0], unit_of(loaded).map(analysis.map))
        text = (target / f"s{seed}.nii.gz.txt").read_text()
        assert float(text) == unit_of(loaded).score(analysis.score)


def test_a_scan_that_fails_has_no_file_and_does_not_stop_the_others(model, tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    (source / "bad.nii.gz").write_bytes(b"no")
    scan(1).write(source / "good.nii.gz")
    assert predict_folder(model, source, target, "sample") == 1
    assert [path.name for path in target.iterdir()] == ["good.nii.gz.txt"]
    assert "bad.nii.gz" in capsys.readouterr().err
    with pytest.raises(InputError, match="no NIfTI file"):
        predict_folder(model, target, target, "sample")


def test_each_data_set_may_have_its_detector(model, tmp_path):
    package(model, out=tmp_path / "out", abdom=model)
    assert "pixel abdom" in (tmp_path / "out" / "workspace" / "run_pixel_abdom.sh").read_text()
    assert (tmp_path / "out" / "workspace" / "detectors" / "abdom" / "detector.toml").is_file()


def test_what_cannot_be_submitted_is_refused(model, tmp_path):
    loaded = Detector.load(model)
    with pytest.raises(CalibrationError, match="not calibrated"):
        unit_of(loaded.with_(calibration=None))
    with pytest.raises(MismatchError, match="one channel"):
        unit_of(replace(loaded, channels=("a", "b")))
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        package(model, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
