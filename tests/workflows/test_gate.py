"""A second detector says whether the first one's answer can be relied on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import CalibrationError, ConfigError, OutputError
from aberra.result import Result
from aberra.workflows.detect import detect_cohort
from aberra.workflows.gate import Gate
from small_scans import cohort, detector, scan


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A detector, twenty-one scans the last one uneven, and a gate that knows the others."""
    folder = tmp_path_factory.mktemp("gate")
    manifest = cohort(folder, 21)
    odd = scan(20)
    uneven = odd.data.copy()
    uneven[:, 2:4, 8:12, 8:12] *= 3
    odd.with_(data=uneven).write(folder / "scan20.nii.gz")
    first = detector("intensity", manifest, folder / "first")
    usual = [first.analyse(scan(index)).score for index in range(20)]
    calibration = replace(first.calibration, scores=sorted(usual), n_cases=20)
    return first, Cohort.read(manifest), Gate(detector=first.with_(calibration=calibration)), folder


def test_it_is_shut_to_what_is_unlike_its_healthy_cases(place):
    first, cases, gate, folder = place
    detect_cohort(first, cases, out=folder / "gated", gate=gate, report=False)
    results = [Result.load(folder / "gated" / case.case) for case in cases]
    assert sum(not result.gate["trusted"] for result in results) <= 2
    odd = results[-1]
    assert not odd.gate["trusted"]
    assert odd.gate["p"] == pytest.approx(1 / 21)
    assert any(warning.startswith("not trusted: ") for warning in odd.warnings)
    assert results[3].gate["trusted"] == (results[3].gate["p"] > 0.05)
    assert not any("not trusted" in warning for result in results if result.gate["trusted"] for warning in result.warnings)  # fmt: skip


def test_it_changes_neither_map_nor_score(place):
    first, cases, gate, folder = place
    detect_cohort(first, cases, out=folder / "with", gate=gate, report=False)
    detect_cohort(first, cases, out=folder / "without", report=False)
    one, other = (Result.load(folder / name / cases[20].case) for name in ("with", "without"))
    assert other.gate == {}
    assert (one.score, one.p, one.threshold) == (other.score, other.p, other.threshold)
    np.testing.assert_array_equal(one.map.data, other.map.data)
    np.testing.assert_array_equal(one.mask, other.mask)


def test_results_of_another_gate_are_other_results(place):
    first, cases, gate, folder = place
    few = Cohort(list(cases)[:2], source=cases.source)
    detect_cohort(first, few, out=folder / "levels", gate=gate, report=False)
    assert detect_cohort(first, few, out=folder / "levels", gate=gate, report=False).kept == 2
    with pytest.raises(OutputError, match="another model, calibration or threshold"):
        detect_cohort(first, few, out=folder / "levels", gate=replace(gate, level=0.2), report=False)


def test_a_gate_that_could_never_shut_is_refused(place):
    first, _, gate, _ = place
    few = replace(gate.detector.calibration, scores=[0.1, 0.2, 0.3])
    with pytest.raises(CalibrationError, match=r"3 healthy cases give no p-value below 0.250"):
        Gate(detector=first.with_(calibration=few))
    with pytest.raises(CalibrationError, match="no healthy case scores"):
        Gate(detector=first.with_(calibration=None))
    with pytest.raises(ConfigError, match="--gate-level"):
        Gate(detector=gate.detector, level=1.0)
