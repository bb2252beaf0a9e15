from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from aberra.detector.calibration import Calibration, ScoreHistogram

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from artefacts import as_table, summary


def _calibration():
    voxels = ScoreHistogram()
    voxels.add(np.linspace(0, 1, 100, dtype=np.float32))
    return Calibration.from_healthy(voxels, [float(each) for each in range(1, 40)])  # median 20, MAD 10


def test_rises_are_in_spreads_of_the_healthy_scores_and_flags_follow_p():
    scores = [{"none": 10.0, "noise, mild": 10.0 + rise} for rise in (0.0, 14.826, 100.0)]
    plain, noise = summary(scores, _calibration())
    assert (plain["artefact"], plain["severity"], plain["rise"], plain["flagged"]) == ("none", "", 0.0, 0.0)
    assert (noise["artefact"], noise["severity"], noise["n"]) == ("noise", "mild", 3)
    assert noise["rise"] == pytest.approx(1.0)
    assert noise["flagged"] == pytest.approx(1 / 3, abs=1e-3)  # only 110 lies above all 39
    assert noise["median_p"] == pytest.approx((1 + 15) / 40)  # 24.8: 25 to 39 lie above


def test_the_table_has_two_columns_a_detector():
    rows = [
        {"detector": detector, "date": "2001-02-03"} | row
        for detector in ("t1", "flair")
        for row in summary([{"none": 1.0, "bias, mild": 60.0}], _calibration())
    ]
    header, _, plain, bias, *_ = as_table(rows).splitlines()
    assert (
        header == "| artefact | severity | `t1`: rise (n = 1) | flagged | `flair`: rise (n = 1) | flagged |"
    )
    assert plain == "| none |  | +0.0 | 0% | +0.0 | 0% |"
    assert bias == "| bias | mild | +4.0 | 100% | +4.0 | 100% |"
