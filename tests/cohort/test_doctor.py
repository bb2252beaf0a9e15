from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from cohort_scans import ball
from typer.testing import CliRunner

from aberra.cohort import Cohort
from aberra.cohort.doctor import examine
from aberra.cohort.fingerprint import fingerprint
from aberra.files import write_json
from dicom_series import brain, slices, write


def said(report, level):
    return [f"{each.topic}: {each.what}" for each in report.findings if each.level == level]


def test_a_sound_cohort(scan, manifest):
    scan("a.nii.gz")
    scan("b.nii.gz", seed=1)
    path = manifest("case,t1,label", "a,a.nii.gz,0", "b,b.nii.gz,0")
    report = examine(path)
    assert not report.failed
    assert said(report, "warn") == []
    assert {"format", "cohort", "geometry", "spacing", "coverage", "intensity"} == {
        each.topic for each in report.findings
    }
    assert report.fingerprints[str(path)].n_cases == 2
    json.dumps(report.to_json(), allow_nan=False)


def test_bad_files_are_findings(scan, tmp_path):
    folder = tmp_path / "scans"
    scan("scans/good.nii.gz")
    holes = ball()
    holes[:2] = np.nan
    scan("scans/nan.nii.gz", holes)
    scan("scans/flat.nii.gz", np.full((9, 9, 9), 7, np.float32))
    scan("scans/four.nii.gz", np.ones((5, 5, 5, 3), np.float32))
    cut = scan("scans/cut.nii.gz", seed=3)
    cut.write_bytes(cut.read_bytes()[:3000])
    report = examine(folder)
    assert report.failed
    errors = "\n".join(said(report, "error"))
    assert f"{2 * 26 * 28:,} NaN" in errors
    assert "flat: image is constant (7 everywhere)" in errors
    assert "four.nii.gz" in errors
    assert "cut.nii.gz" in errors
    assert all(each.remedy for each in report.findings if each.level == "error")


def test_missing_path_and_bad_manifest(manifest, tmp_path):
    report = examine([tmp_path / "nowhere.nii.gz", manifest("case,t1", "a,b.nii.gz", "a,c.nii.gz")])
    errors = said(report, "error")
    assert any("nowhere.nii.gz" in line for line in errors)
    assert sum(line.startswith("manifest:") for line in errors) == 3


def test_a_folder_with_a_manifest_is_pointed_out(scan, manifest, tmp_path):
    scan("a.nii.gz")
    manifest("case,t1", "a,a.nii.gz")
    assert any("holds a manifest.csv" in line for line in said(examine(tmp_path), "warn"))


def test_patients_and_duplicates_across_manifests(scan, manifest, tmp_path):
    first = scan("a.nii.gz")
    shutil.copy(first, tmp_path / "copy.nii.gz")
    fit = manifest("case,patient,t1,split", "a,p,a.nii.gz,train", name="fit.csv")
    test = manifest("case,patient,t1,split", "b,p,copy.nii.gz,test", name="test.csv")
    errors = said(examine([fit, test]), "error")
    assert any(line.startswith("patients: 1 patient(s)") for line in errors)
    assert any(line.startswith("duplicates: the same file") for line in errors)


def test_duplicates_are_told_by_all_bytes_of_an_input(manifest, tmp_path):
    rows = []
    for number in range(4):
        image = nib.Nifti1Pair(ball(number).astype(np.int16), np.eye(4))
        image.to_filename(tmp_path / f"c{number}.hdr")
        rows.append(f"c{number},c{number}.hdr,{'train' if number else 'test'}")
    path = manifest("case,t1,split", *rows)
    assert not examine(path).failed
    shutil.copy(tmp_path / "c0.img", tmp_path / "c2.img")
    (error,) = said(examine(path), "error")
    assert error.startswith("duplicates: the same file under 2 name(s), in 2 case(s), in different splits")


def test_a_series_under_two_names_is_a_duplicate(tmp_path):

    first = write(slices(brain((12, 14, 16)), dtype="i2"), tmp_path / "a")
    shutil.copytree(first, tmp_path / "b")
    assert any(line.startswith("duplicates:") for line in said(examine(tmp_path), "warn"))
    assert not any("duplicates" in line for line in said(examine(sorted(first.iterdir())), "warn"))
    report = examine(sorted(first.iterdir()))
    assert len(report.fingerprints) == 1


def test_one_file_in_two_manifests_is_a_duplicate(scan, manifest):
    scan("a.nii.gz")
    fit = manifest("case,patient,t1,split", "a,p,a.nii.gz,train", name="fit.csv")
    test = manifest("case,patient,t1,split", "b,q,a.nii.gz,test", name="test.csv")
    assert any(line.startswith("duplicates:") for line in said(examine([fit, test]), "error"))


def test_warnings_of_the_search_are_findings(scan, tmp_path):
    scan("scans/a.nii.gz")
    (tmp_path / "scans" / "gone.nii.gz").symlink_to("nowhere")
    assert any("gone.nii.gz" in line for line in said(examine(tmp_path / "scans"), "warn"))


def test_mixed_images_and_volumes(scan, tmp_path):
    from PIL import Image

    scan("mixed/a.nii.gz")
    Image.fromarray(ball()[12].astype(np.uint8)).save(tmp_path / "mixed" / "b.png")
    assert any(line.startswith("dimensions:") for line in said(examine(tmp_path / "mixed"), "error"))


def test_headers_that_contradict_themselves(tmp_path):
    image = nib.Nifti1Image(ball(), np.eye(4))
    image.set_sform(np.eye(4), code=1)
    image.set_qform(np.diag([-1.0, 1, 1, 1]), code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    assert any("sform and qform disagree" in line for line in said(examine(tmp_path / "a.nii.gz"), "warn"))

    image.set_sform(np.eye(4), code=0)
    image.set_qform(np.eye(4), code=0)
    nib.save(image, tmp_path / "b.nii.gz")
    assert any("no orientation" in line for line in said(examine(tmp_path / "b.nii.gz"), "warn"))


def test_against_a_model(scan, manifest):
    for number in range(3):
        scan(f"{number}.nii.gz", seed=number)
    scan("thick.nii.gz", spacing=(1, 1, 4))
    model = fingerprint(
        Cohort.read(manifest("case,t1", *(f"{n},{n}.nii.gz" for n in range(3)), name="m.csv"))
    )
    path = manifest("case,t1,t2", "0,0.nii.gz,1.nii.gz", "thick,thick.nii.gz,thick.nii.gz")
    report = examine(path, model)
    spacing = next(each for each in report.findings if each.topic == "spacing" and each.level == "warn")
    assert spacing.what.startswith("model: 1 of 2 cases, as thick: ")
    assert spacing.cases == ("thick",)

    wrong = examine(manifest("case,t2,pd", "0,0.nii.gz,1.nii.gz", name="w.csv"), model)
    assert any(line.startswith("channels: model: 2 channel(s)") for line in said(wrong, "error"))
    named = examine(manifest("case,t2,pd", "0,0.nii.gz,1.nii.gz", name="w.csv"), model, channels=["t2"])
    assert not named.failed
    assert any("read t2 as t1" in line for line in said(named, "info"))


def test_command(scan, manifest, tmp_path):
    import typer

    from aberra.cli.doctor import doctor

    app = typer.Typer()
    app.command()(doctor)
    good = scan("good.nii.gz")
    bad = scan("bad.nii.gz", np.zeros((9, 9, 9), np.float32))
    model = tmp_path / "model"
    model.mkdir()
    (model / "detector.toml").write_text(
        'format = 2\nchannels = ["image"]\ndims = 2\nsize = [16, 16]\n[facts]\n[method]\n[recipe]\n'
        'steps = [{name = "orient"}, {name = "brain-mask"}]\nstate = [{}, {}]\n'
    )
    write_json(model / "fingerprint.json", fingerprint(Cohort.from_paths(good)).to_json())

    done = CliRunner().invoke(app, [str(good), "--model", str(model)])
    assert done.exit_code == 0, done.output
    assert "nothing departs" in done.output
    done = CliRunner().invoke(app, [str(good), str(bad), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"]


@pytest.mark.data
@pytest.mark.parametrize("name", ["lgg", "ms", "ultrasound"])
def test_real_cohorts_are_sound(name, real):
    cohort = Cohort.read(real / name / "manifest.csv")
    report = examine(cohort[:12])
    assert not report.failed
    assert said(report, "warn") == []


@pytest.mark.data
def test_real_formats(real):
    report = examine([real / "formats", real / "formats" / "dicom_flair"])
    assert not report.failed


@pytest.mark.data
def test_the_copy_in_train_and_test_of_the_xrays(real):
    cohort = Cohort.read(real / "cxr" / "manifest.csv")
    twins = [case for case in cohort if case.case.startswith("NORMAL2-IM-0587-0001-000")]
    assert any("in different splits" in line for line in said(examine(Cohort(twins)), "error"))
