"""Bad input gives one typed error that names the file and the remedy, and leaves earlier output as
it was.
"""

from __future__ import annotations

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.e2e


def _nifti(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def _truncated(folder):
    path = _nifti(
        folder / "truncated.nii.gz", np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    )
    path.write_bytes(path.read_bytes()[:2000])
    return path


def _zero_spacing(folder):
    path = _nifti(folder / "zero.nii", np.ones((8, 8, 8), np.float32))
    raw = bytearray(path.read_bytes())
    raw[76:108] = np.zeros(8, np.float32).tobytes()  # pixdim
    raw[252:256] = bytes(4)  # qform and sform codes
    path.write_bytes(raw)
    return path


def _rgb(folder):
    data = np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return _nifti(folder / "rgb.nii.gz", data)


def _mixed(folder):
    path = folder / "text.nii"
    path.write_text("this is not a scan")
    return path


def _empty_file(folder):
    path = folder / "empty.nii.gz"
    path.write_bytes(b"")
    return path


def _not_gzip_inside(folder):
    path = folder / "inside.nii.gz"
    path.write_bytes(gzip.compress(b"no header here" * 100))
    return path


BAD = {
    "missing file": lambda folder: folder / "nowhere.nii.gz",
    "empty file": _empty_file,
    "text named .nii": _mixed,
    "gzip without NIfTI": _not_gzip_inside,
    "truncated gzip": _truncated,
    "zero spacing": _zero_spacing,
    "four dimensions": lambda folder: _nifti(folder / "4d.nii.gz", np.ones((8, 8, 8, 5), np.float32)),
    "RGB": _rgb,
    "NaN": lambda folder: _nifti(folder / "nan.nii.gz", np.full((8, 8, 8), np.nan, np.float32)),
    "Inf": lambda folder: _nifti(folder / "inf.nii.gz", np.full((8, 8, 8), np.inf, np.float32)),
    "all zero": lambda folder: _nifti(folder / "zeros.nii.gz", np.zeros((16, 16, 16), np.float32)),
    "empty folder": lambda folder: (folder / "nothing").mkdir() or folder / "nothing",
}


@pytest.fixture(scope="module")
def results(call, job, tmp_path_factory):
    out = tmp_path_factory.mktemp("earlier") / "results"
    call("detect", job["model"], job["unseen"], "--out", out)
    return out


@pytest.mark.parametrize("kind", BAD)
def test_bad_scan(kind, call, job, results, tmp_path):
    path = BAD[kind](tmp_path)
    before = _hashes(results, skip=("scores.csv", "report.html"))

    done = call("detect", job["model"], path, "--out", results, check=False)

    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert path.name.split(".")[0] in said
    assert _hashes(results, skip=("scores.csv", "report.html")) == before
    assert len((results / "scores.csv").read_text().splitlines()) >= 5


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("missing scan", "case,patient,flair\na,a,nowhere.nii.gz\n", "row 2"),
        ("patient in two splits", "case,patient,flair,split\na,p,{0},train\nb,p,{1},test\n", "p"),
        ("unknown label", "case,patient,flair,label\na,a,{0},7\n", "row 2"),
        ("doubled case", "case,patient,flair\na,a,{0}\na,b,{1}\n", "row 3"),
        ("no channel", "case,patient,label\na,a,0\n", "channel"),
    ],
)
def test_bad_manifest(kind, text, said, call, job, tmp_path):
    scans = sorted(job["unseen"].parent.glob("*_flair.nii.gz"))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(text.format(*scans))

    done = call("fit", "dae", manifest, "--out", tmp_path / "model", check=False)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "daee"], "Did you mean 'dae'?"),
        (["fit", "dae", "--set", "model.network.widht=8"], "width"),
        (["fit", "dae", "--set", "training.step=8"], "steps"),
        (["fit", "dae", "--set", "score.compare.mode=wrong"], "absolute"),
    ],
)
def test_bad_settings_name_the_nearest(arguments, said, call, job, tmp_path):
    command, method, *rest = arguments
    done = call(command, method, job["healthy"], "--out", tmp_path / "model", *rest, check=False)

    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "model" / "detector.toml").exists()


def test_a_finished_detector_and_foreign_results_are_not_overwritten(run, job, results):
    before = _hashes(job["model"])
    done = run("fit", "ae", job["healthy"], "--out", job["model"], check=False)
    assert done.returncode == 1
    assert "already" in done.stderr
    assert _hashes(job["model"]) == before

    before = _hashes(results)
    done = run(
        "detect", job["model"], job["unseen"], "--out", results, "--threshold", "healthy-fpr-10", check=False
    )
    assert done.returncode == 1
    assert "--overwrite" in done.stderr
    assert _hashes(results) == before


def _hashes(folder, skip=()):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skip
    }
