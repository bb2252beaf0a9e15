"""Results of a cohort in one folder: of one model, whole, and never at the cost of the user's
files.
"""

from __future__ import annotations

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from aberra.cohort import Case, Cohort
from aberra.detector import Detector
from aberra.errors import InputError, OutputError
from aberra.files import file_hash, read_mark
from aberra.method import Method
from aberra.output import kind_of
from aberra.report import write_report
from aberra.result import LEARNT_FROM, Result
from aberra.workflows.detect import detect_cohort
from aberra.workflows.evaluate import evaluate
from aberra.workflows.findings import findings
from aberra.workflows.objects import objects
from small_scans import cohort, detector, scan, series


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two detectors by letter, and their folder."""
    folder = tmp_path_factory.mktemp("models")
    manifest = cohort(folder, split=True)
    return {
        letter: detector(name, manifest, folder / letter)
        for letter, name in (("A", "random"), ("B", "constant"))
    }


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "data").mkdir()
    return Cohort.read(cohort(tmp_path / "data", 3))


def rows(out):
    return {row["case"]: row for row in csv.DictReader((out / "scores.csv").read_text().splitlines())}


def fingerprints(out):
    return {json.loads(path.read_text())["model"]["fingerprint"] for path in out.glob("*/result.json")}


def of(cohort, *names):
    return Cohort([case for case in cohort if case.case in names], "some")


def test_finished_cases_are_kept_and_new_ones_added(models, scans, tmp_path):
    out = tmp_path / "out"
    assert detect_cohort(models["A"], of(scans, "c0", "c1"), out=out, report=False).done == 2
    found = detect_cohort(models["A"], scans, out=out, report=False)
    assert (found.done, found.kept, found.failed) == (1, 2, {})
    assert set(rows(out)) == {"c0", "c1", "c2"}
    assert kind_of(out) == "results"
    assert kind_of(out / "c0") == "case"
    assert read_mark(out)["model"]["method"] == "random"


def test_a_scan_that_the_detector_has_learnt_from_is_told(tmp_path):
    learnt = Cohort.read(cohort(tmp_path, split=True))
    quick = {"prepare.size": 16, "model.network.width": 4, "model.latent": 4, "training.steps": 2}
    model = Detector.fit(Method.load("ae", quick), learnt, out=tmp_path / "model", workers=1)
    detect_cohort(model, learnt, out=tmp_path / "out", report=False)
    told = {case for case, row in rows(tmp_path / "out").items() if LEARNT_FROM in row["warnings"]}
    assert told == {case.case for case in learnt if case.split == "train"}
    content = evaluate(tmp_path / "out", learnt, n_boot=1, progress=False)
    assert {case for case, notes in content["warnings"].items() if LEARNT_FROM in notes} == told


def test_one_folder_is_of_one_model_whatever_the_cases_are_called(models, scans, tmp_path):
    out = tmp_path / "out"
    detect_cohort(models["A"], of(scans, "c0"), out=out, report=False)
    before = file_hash(out)
    with pytest.raises(OutputError, match="--overwrite"):
        detect_cohort(models["B"], of(scans, "c1"), out=out, report=False)
    with pytest.raises(OutputError, match="threshold"):
        detect_cohort(models["A"], of(scans, "c1"), out=out, protocol="healthy-fpr-5", report=False)
    with pytest.raises(OutputError, match=r"not given now \(c0\)"):  # or one folder would be of two models
        detect_cohort(models["B"], of(scans, "c1"), out=out, overwrite=True, report=False)
    assert file_hash(out) == before


def test_overwriting_takes_everything_of_the_other_model_away(models, scans, tmp_path):
    out = tmp_path / "out"
    detect_cohort(models["A"], of(scans, "c0", "c1"), out=out)
    evaluate(out, of(scans, "c0", "c1"), n_boot=10, curves=False, progress=False)
    objects(out, threshold="0", least_volume_mm3=0)
    findings(out, n_boot=10)
    (out / "c0" / "notes.txt").write_text("mine")
    (out / "evaluation" / "notes.txt").write_text("mine")
    nib.save(nib.Nifti1Image(np.full((6, 20, 20), np.nan, np.float32), np.eye(4)), scans[1].channels["image"])
    found = detect_cohort(models["B"], scans, out=out, overwrite=True)
    assert (found.done, found.kept, list(found.failed)) == (2, 0, ["c1"])
    assert len(fingerprints(out)) == 1
    assert not (out / "c1" / "result.json").exists()
    assert not (out / "evaluation" / "metrics.json").exists()
    assert not [
        name for name in ("objects", "objects.csv", "objects.json", "findings") if (out / name).exists()
    ]
    assert rows(out)["c1"]["warnings"].startswith("failed: ")
    assert json.loads((out / "calibration.json").read_text()) == models["B"].calibration.to_json()
    assert (out / "c0" / "notes.txt").read_text() == (out / "evaluation" / "notes.txt").read_text() == "mine"


def test_another_input_is_told_from_the_old_one(models, scans, tmp_path):
    out = tmp_path / "out"
    detect_cohort(models["A"], scans, out=out, report=False)
    scan(7).write(scans[0].channels["image"])
    with pytest.raises(OutputError, match=r"another input are there \(c0\)"):
        detect_cohort(models["A"], scans, out=out, report=False)
    found = detect_cohort(models["A"], scans, out=out, overwrite=True, report=False)
    assert (found.done, found.kept) == (1, 2)


def _refused(models, cohort, out, said):
    with pytest.raises(OutputError, match=said):
        detect_cohort(models["A"], cohort, out=out, report=False)


def test_cases_that_cannot_be_told_from_aberras_files_or_each_other(models, scans, tmp_path):
    path = scans[0].channels
    for name in ("evaluation", "Report.html", "logs", "scores.csv", "calibration.json"):
        _refused(models, Cohort([Case(case=name, patient="p", channels=path)]), tmp_path / "out", name)
    twins = Cohort([Case(case=name, patient=name, channels=path) for name in ("sub-01", "Sub-01")])
    _refused(models, twins, tmp_path / "out", "'sub-01' and 'Sub-01'")
    outside = Cohort([Case(case="../data", patient="p", channels=path)])
    _refused(models, outside, tmp_path / "out", "no file name")
    assert not (tmp_path / "out").exists()


def test_scans_are_never_output(models, tmp_path):
    folder = series(tmp_path / "data" / "patient")
    scans = Cohort.from_paths(tmp_path / "data")
    before = file_hash(tmp_path / "data")
    for out in (tmp_path / "data", folder, folder / "out"):
        _refused(models, scans, out, "that is read|what is read")
    assert file_hash(tmp_path / "data") == before
    assert detect_cohort(models["A"], scans, out=tmp_path / "data" / "out").done == 1
    again = Cohort.from_paths(tmp_path / "data")
    assert [case.case for case in again] == ["patient"]
    assert detect_cohort(models["A"], again, out=tmp_path / "data" / "out").kept == 1


def test_a_manifest_beside_its_case_folders(models, scans, tmp_path):
    (tmp_path / "data" / "c0").mkdir()
    inside = tmp_path / "data" / "c0" / "flair.nii.gz"
    shutil.move(scans[0].channels["image"], inside)
    (tmp_path / "data" / "manifest.csv").write_text("case,flair\nc0,c0/flair.nii.gz\n")
    _refused(models, Cohort.read(tmp_path / "data" / "manifest.csv"), tmp_path / "data", "what is read")
    assert inside.is_file()


def test_a_case_whose_folder_is_someone_elses_fails_and_the_others_go_on(models, scans, tmp_path):
    out = tmp_path / "out"
    detect_cohort(models["A"], of(scans, "c0"), out=out, report=False)
    (out / "c1").mkdir()
    (out / "c1" / "result.json").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (out / "c2").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = file_hash(out / "c1")
    found = detect_cohort(models["A"], scans, out=out, overwrite=True)
    assert (found.done, found.kept, set(found.failed)) == (0, 1, {"c1", "c2"})
    assert "link is in the way" in found.failed["c2"]
    assert file_hash(out / "c1") == before
    assert not list((tmp_path / "elsewhere").iterdir())
    assert set(rows(out)) == {"c0", "c1", "c2"}


# -- what nobody foresaw ---------------------------------------------------------------------------


@pytest.fixture
def haunted(monkeypatch):
    """Let one scan raise what no reader should."""

    def haunt(error, case="c1"):
        read = Detector.read

        def broken(self, each, channels=None):
            if each.case == case:
                raise error
            return read(self, each, channels)

        monkeypatch.setattr(Detector, "read", broken)

    return haunt


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TypeError("no [b]len[/b]"), "unexpected TypeError: no [b]len[/b]; please report it, log at "),
        (RecursionError("too deep"), "unexpected RecursionError: too deep; please report it, log at "),
        (MemoryError("976 TiB"), "not enough memory (976 TiB)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (PermissionError(13, "Permission denied", "x.nii"), "x.nii: Permission denied"),
        (InputError("x.nii: empty; export it again"), "x.nii: empty; export it again"),
    ],
)
def test_one_case_never_ends_a_cohort_and_says_why(error, said, models, scans, tmp_path, haunted):
    haunted(error)
    out = tmp_path / "out"
    found = detect_cohort(models["A"], scans, out=out)
    assert found.done == 2
    assert found.failed["c1"].startswith(said)
    assert rows(out)["c1"]["warnings"] == f"failed: {found.failed['c1']}"
    log = out / "logs" / "c1.log"
    assert log.is_file() == ("log at" in said)
    if log.is_file():
        assert found.failed["c1"].endswith(str(log))
        assert "Traceback" in log.read_text()
        assert type(error).__name__ in log.read_text()
    again = detect_cohort(models["A"], scans, out=out)  # logs are no case, and the folder is still aberra's
    assert (again.kept, list(again.failed)) == (2, ["c1"])


def test_ctrl_c_stops_at_once(models, scans, tmp_path, haunted):
    haunted(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        detect_cohort(models["A"], scans, out=tmp_path / "out")
    assert (tmp_path / "out" / "c0" / "result.json").is_file()


def test_a_file_that_cannot_be_hashed_is_one_cases_affair(models, scans, tmp_path):
    scans[1].channels["image"].unlink()
    found = detect_cohort(models["A"], scans, out=tmp_path / "out")
    assert found.done == 2
    assert "scan1.nii.gz: cannot be read (No such file" in found.failed["c1"]


def test_where_no_case_succeeds_the_page_tells_why(models, tmp_path):
    image = nib.Nifti1Image(np.full((8, 8, 8), np.nan, np.float32), np.eye(4))
    for name in ("one", "<two>"):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    cohort = Cohort.from_paths([tmp_path / "one.nii.gz", tmp_path / "<two>.nii.gz"])
    found = detect_cohort(models["A"], cohort, out=tmp_path / "out")
    assert (found.done, len(found.failed)) == (0, 2)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("NaN") == 2
    assert "No case could be scored" in page
    assert "2 failed" in page
    assert "&lt;two&gt;.nii.gz" in page
    assert ">A<" in page  # the model, from the folder's mark
    assert write_report(tmp_path / "out").read_text() == page


def test_a_damaged_result_is_shown_as_such_and_done_again(models, scans, tmp_path):
    out = tmp_path / "out"
    detect_cohort(models["A"], scans, out=out)
    (out / "c0" / "map.nii.gz").write_bytes(b"cut")
    page = write_report(out).read_text()
    assert "cannot be shown" in page
    assert page.count('class="card case"') == 2
    (out / "c1" / "result.json").write_text("{")
    found = detect_cohort(models["A"], of(scans, "c2"), out=out)
    assert found.kept == 1
    assert "damaged" in rows(out)["c1"]["warnings"]
    assert detect_cohort(models["A"], scans, out=out).done == 1
    assert Result.load(out / "c1").case == "c1"


def test_a_result_of_ones_own_goes_into_no_foreign_folder(models, scans, tmp_path):
    result = models["A"].detect(scans[0].read())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "map.nii.gz").write_text("mine")
    with pytest.raises(OutputError, match="mine"):
        result.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "map.nii.gz").read_text() == "mine"
    result.save(tmp_path / "new")
    result.save(tmp_path / "new")
    assert Result.load(tmp_path / "new").score == result.score
