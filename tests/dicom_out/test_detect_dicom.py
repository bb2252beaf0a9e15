"""``detect --dicom``: added to what is there, never left beside another result."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from aberra.cli import app
from aberra.cohort import Cohort
from aberra.errors import InputError
from aberra.io import read
from aberra.workflows.detect import detect_cohort
from small_scans import cohort, detector, scan, series

pytest.importorskip("highdicom", reason="pip install 'aberra[dicom]'")

OBJECTS = ["likelihood.dcm", "map.dcm", "objects.json", "regions.dcm", "report.dcm"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    manifest = cohort(folder, split=True)
    return {name: detector(name, manifest, folder / name) for name in ("intensity", "random")}


@pytest.fixture
def given(tmp_path):
    """A DICOM series and a NIfTI."""
    scan().write(tmp_path / "data" / "n.nii.gz")
    series(tmp_path / "data" / "d")
    return Cohort.from_paths(tmp_path / "data")


def there(out, case="d"):
    return sorted(each.name for each in (out / case / "dicom").glob("[!.]*"))


def test_a_rerun_adds_what_is_missing_and_detects_nothing_again(tmp_path, models, given):
    out = tmp_path / "out"
    detect_cohort(models["intensity"], given, out=out, report=False)
    assert there(out) == []
    first = (out / "d" / "result.json").stat().st_mtime_ns
    summary = detect_cohort(models["intensity"], given, out=out, report=False, dicom="objects")
    assert (summary.done, summary.kept, summary.with_objects, summary.without_objects) == (0, 2, 1, {})
    assert there(out) == OBJECTS
    assert not (out / "n" / "dicom").exists()
    assert (out / "d" / "result.json").stat().st_mtime_ns == first
    made = pydicom.dcmread(out / "d" / "dicom" / "map.dcm")
    again = read(out / "d" / "map.nii.gz").data[0]
    planes = {round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]) / 2): plane
              for group, plane in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array, strict=True)}  # fmt: skip
    assert np.array_equal(np.stack([planes[index] for index in range(6)]), again)
    (out / "d" / "dicom" / "map.dcm").unlink()
    (out / "d" / "dicom" / "objects.json").unlink()  # as a run that was killed leaves it
    detect_cohort(models["intensity"], given, out=out, report=False, dicom="objects")
    assert there(out) == OBJECTS


def test_objects_of_an_older_result_do_not_stay_beside_a_new_one(tmp_path, models, given):
    out = tmp_path / "out"
    detect_cohort(models["intensity"], given, out=out, report=False, dicom="objects")
    before = pydicom.dcmread(out / "d" / "dicom" / "map.dcm").SOPInstanceUID
    detect_cohort(models["random"], given, out=out, report=False, overwrite=True)
    assert there(out) == []
    detect_cohort(models["random"], given, out=out, report=False, dicom="objects")
    assert pydicom.dcmread(out / "d" / "dicom" / "map.dcm").SOPInstanceUID != before


def test_a_result_stands_where_no_objects_can_be_made(tmp_path, models, given):
    for file in (tmp_path / "data" / "d").iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.FrameOfReferenceUID
        dataset.save_as(file)
    out = tmp_path / "out"
    summary = detect_cohort(models["intensity"], given, out=out, report=False, dicom="objects")
    assert summary.failed == {}
    assert "no FrameOfReferenceUID" in summary.without_objects["d"]
    assert "failed" not in (out / "scores.csv").read_text()
    assert there(out) == []


def test_the_results_folder_is_still_none_of_scans(tmp_path, models, given):
    out = tmp_path / "data" / "results"
    detect_cohort(models["intensity"], given, out=out, report=False, dicom="overlay")
    assert len(there(out)) == len(OBJECTS) + 6
    again = Cohort.from_paths(tmp_path / "data")
    assert [case.case for case in again] == [case.case for case in given]


def test_without_a_series_the_command_refuses_to_begin(tmp_path, models):
    scan().write(tmp_path / "n.nii.gz")
    command = ["detect", str(models["intensity"].folder), str(tmp_path / "n.nii.gz"), "--dicom"]
    with pytest.raises(InputError, match="no DICOM series, which --dicom needs"):
        app([*command, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert not (tmp_path / "out").exists()
