"""Output folders as a user meets them: two commands at once, a full disk, files that must not be
read, Ctrl-C.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from small_scans import cohort, detector, scan, series

pytestmark = pytest.mark.e2e


def _started(arguments, environment, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "aberra", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, **options,
    )  # fmt: skip


def _together(environment, *commands):
    """Run commands at once; what each said."""
    processes = [_started(arguments, environment) for arguments in commands]
    said = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(said), said
    return said


def _leftovers(folder):
    return list(folder.rglob(".aberra-*"))


def test_two_detections_into_one_folder(job, environment, tmp_path):
    out = tmp_path / "results"
    _together(environment, *[["detect", job["model"], job["unseen"], "--out", out]] * 2)
    assert len(list(out.glob("*/result.json"))) == 4
    assert len((out / "scores.csv").read_text().splitlines()) == 5
    assert not _leftovers(out)


def test_two_fits_share_a_cache(job, environment, small, tmp_path):
    cache = tmp_path / "cache"
    fit = ["fit", "dae", job["healthy"], *small, "--cache", cache]
    _together(environment, [*fit, "--out", tmp_path / "a"], [*fit, "--out", tmp_path / "b"])
    assert len(list(cache.glob("*/meta.json"))) == 12
    assert not _leftovers(cache)
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()


def test_the_same_fit_twice_at_once(job, run, environment, small, tmp_path):
    out = tmp_path / "model"
    _together(environment, *[["fit", "dae", job["healthy"], *small, "--out", out]] * 2)
    assert not (out / "prepared").exists()
    assert not _leftovers(out)
    run("detect", out, job["unseen"], "--out", tmp_path / "results")


def test_ctrl_c_is_one_line(job, environment, tmp_path):
    out = tmp_path / "results"
    scan().write(tmp_path / "scan.nii.gz")
    # many cases, so that some are left whenever the signal comes
    rows = [f"c{number},scan.nii.gz" for number in range(60)]
    (tmp_path / "many.csv").write_text("\n".join(["case,flair", *rows]) + "\n")
    process = _started(["detect", job["model"], tmp_path / "many.csv", "--out", out], environment)
    deadline = time.monotonic() + 240
    while not any(out.glob("*/result.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in said


# -- a full disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 160 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no mount here")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be made here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_nothing_is_half_written(job, run, small, small_disk, tmp_path):
    done = run("detect", job["model"], job["unseen"], "--out", small_disk / "results", check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "cannot write here (No space left on device)" in said
    assert ".aberra-" not in said
    assert "Traceback" not in said
    for case in (small_disk / "results").glob("[!.]*/"):
        for path in case.glob("*.nii.gz"):
            nib.load(path).get_fdata()
    shutil.rmtree(small_disk / "results")
    for more in (
        ["--out", small_disk / "model"],
        ["--out", tmp_path / "model", "--cache", small_disk / "cache"],
    ):
        done = run("fit", "dae", job["healthy"], *small, *more, check=False)
        assert done.returncode == 1
        assert "cannot write here (No space left on device)" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr


# -- what must not be read -------------------------------------------------------------------------


def _without_privileges():
    """In the new process: root is like everybody else."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """Run the command line so that file permissions count; skip where they do not."""
    if os.name == "nt":
        pytest.skip("Windows has other permissions")
    probe = tmp_path_factory.mktemp("probe") / "closed"
    probe.touch(mode=0o000)
    drop = _without_privileges if os.geteuid() == 0 else None
    try:
        done = subprocess.run(["cat", str(probe)], capture_output=True, check=False, preexec_fn=drop)
    except subprocess.SubprocessError as error:
        pytest.skip(f"root's privileges cannot be dropped here ({error})")
    if done.returncode == 0:
        pytest.skip("permissions do not count for this user")
    return {"preexec_fn": drop}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    detector("random", cohort(folder, split=True), folder / "random")
    return folder / "random"


def _slice(folder):
    path = series(folder / "scan") / "IM0003.dcm"
    path.chmod(0)
    return folder / "scan", path


def _series(folder):
    path = series(folder / "scan")
    path.chmod(0)
    return path, path


def _manifest(folder):
    path = cohort(folder)
    path.chmod(0)
    return path, path


def _nifti(folder):
    cohort(folder)
    (folder / "scan2.nii.gz").chmod(0)
    return folder / "scan2.nii.gz", folder / "scan2.nii.gz"


@pytest.mark.parametrize("make", [_slice, _series, _manifest, _nifti])
def test_what_must_not_be_read_is_named(make, run, closed, model, tmp_path):
    given, path = make(tmp_path)
    done = run("detect", model, given, "--out", tmp_path / "out", check=False, **closed)
    said = done.stdout + done.stderr
    path.chmod(0o700)
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert str(path) in said
    assert "cannot be read (Permission denied)" in said


@pytest.mark.parametrize("name", ["calibration.json", "detector.toml", "weights.safetensors"])
def test_a_detector_that_must_not_be_read(name, run, closed, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / name).chmod(0)
    scan().write(tmp_path / "scan.nii.gz")
    done = run(
        "detect",
        tmp_path / "model",
        tmp_path / "scan.nii.gz",
        "--out",
        tmp_path / "out",
        check=False,
        **closed,
    )
    assert done.returncode == 1
    assert name in done.stderr
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_must_not_be_written(run, closed, model, tmp_path):
    scan().write(tmp_path / "scan.nii.gz")
    (tmp_path / "out").mkdir(mode=0o500)
    for out in (tmp_path / "out", tmp_path / "out" / "deep"):
        done = run("detect", model, tmp_path / "scan.nii.gz", "--out", out, check=False, **closed)
        assert done.returncode == 1
        assert "cannot write here (Permission denied)" in done.stderr
        assert "Traceback" not in done.stderr


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scans [old]/nan[b].nii.gz", "e[/b].nii.gz", ":smile:/[red].nii.gz"])
def test_names_are_printed_as_they_are(name, run, model, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((6, 20, 20), np.nan, np.float32), np.eye(4)), path)
    for arguments in (
        ["detect", model, path, "--out", tmp_path / "out [x]"],
        ["detect", tmp_path / name / "no", path, "--out", "o"],
    ):
        done = run(*arguments, check=False)
        assert done.returncode == 1
        assert str(path) in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
