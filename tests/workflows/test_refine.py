"""A specialist is asked of the scans that a generalist takes for unusual."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import CalibrationError, ConfigError, OutputError
from aberra.output import kind_of
from aberra.result import Result
from aberra.workflows.detect import detect_cohort
from aberra.workflows.refine import check_refine, refine
from small_scans import cohort, detector, scan


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Results of a generalist in four scans, one of them with something bright, and a specialist."""
    folder = tmp_path_factory.mktemp("cascade")
    manifest = cohort(folder, 4)
    odd = scan(3)
    bright = odd.data.copy()
    bright[:, 2:4, 8:12, 8:12] += 3
    odd.with_(data=bright).write(folder / "scan3.nii.gz")
    first = detector("intensity", manifest, folder / "first")
    usual = [first.analyse(scan(index)).score for index in range(20)]
    first = first.with_(calibration=replace(first.calibration, scores=sorted(usual), n_cases=20))
    second = detector("random", manifest, folder / "second")
    cases = Cohort.read(manifest)
    detect_cohort(first, cases, out=folder / "out", report=False)
    return first, second, cases, folder / "out"


def test_the_specialist_sees_what_is_unusual_and_nothing_else_changes(place):
    _, second, cases, out = place
    before = {case.case: Result.load(out / case.case) for case in cases}
    unusual = [name for name, result in before.items() if result.p <= 0.05]
    assert "c3" in unusual
    assert len(unusual) < len(cases)
    summary = refine(out, second, cases, report=False)
    assert summary.done == len(unusual)
    assert sorted(path.parent.name for path in (out / "refined").glob("*/result.json")) == sorted(unusual)
    assert kind_of(out / "refined") == "results"
    found = Result.load(out / "refined" / "c3")
    np.testing.assert_array_equal(found.map.data[0], second.analyse(cases[3].read()).map)
    for name, result in before.items():
        np.testing.assert_array_equal(Result.load(out / name).map.data, result.map.data)
    assert refine(out, second, cases, report=False).kept == len(unusual)


def test_what_was_unusual_at_a_higher_level_goes(place):
    _, second, cases, out = place
    refine(out, second, cases, level=0.99, report=False)
    many = len(list((out / "refined").glob("*/result.json")))
    refine(out, second, cases, level=0.05, report=False)
    assert len(list((out / "refined").glob("*/result.json"))) < many
    assert refine(out, second, cases, level=1e-9, report=False).done == 0
    assert not list((out / "refined").glob("*/result.json"))


def test_a_cascade_that_never_begins_is_refused(place):
    first, _, _, _ = place
    check_refine(first, 0.05)
    few = first.with_(calibration=replace(first.calibration, scores=[0.1, 0.2]))
    with pytest.raises(CalibrationError, match=r"2 healthy cases give no p-value below 0.333"):
        check_refine(few, 0.05)
    with pytest.raises(CalibrationError, match="0 healthy cases"):
        check_refine(first.with_(calibration=None), 0.05)
    with pytest.raises(ConfigError, match="--refine-level"):
        check_refine(first, 1.0)


def test_no_case_may_be_called_as_the_folder_is(place):
    first, _, cases, out = place
    with pytest.raises(OutputError, match="refined"):
        detect_cohort(
            first, Cohort([replace(cases[0], case="refined")]), out=out.parent / "other", report=False
        )
