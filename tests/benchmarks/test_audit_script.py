"""The tables of ``benchmarks/audit.py``, from scans that were not computed but made up."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
FEATURES = 27


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("audit_script", FOLDER / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module


@pytest.fixture(scope="module")
def rows(script):
    """Eight brains; the detector's score rises by 3 in the other site and by 1 with a lesion."""
    rng = np.random.default_rng(0)
    found = {
        ("ref", brain, "none", 0): {"features": rng.normal(size=FEATURES).tolist(), "moved": np.zeros((1, FEATURES))}
        for brain in range(20)
    }  # fmt: skip
    for brain in range(8):
        own, place = 0.1 * rng.normal(), rng.normal(size=FEATURES)
        for shift in (0, 1):
            for lesion in (0, 1):
                key = ("test", brain, "noise" if shift else "none", lesion)
                found[key] = {"features": (place + 9 * shift).tolist(), "score": own + 3 * shift + lesion}
    return {(row["score"], row["shift"]): row for row in script.tables(found, ["none", "noise"])}


def test_a_shift_is_told_apart_and_a_lesion_overlooked(rows):
    row = rows["shift", "noise"]
    assert (row["healthy shifted"], row["lesional shifted"], row["not trusted"]) == (1.0, 1.0, 1.0)
    assert row["within"] == 0.5


def test_a_score_that_moves_with_the_site_is_put_right_by_healthy_scans_of_it(rows):
    row = rows["score", "noise"]
    assert (row["unshifted"], row["within"], row["raised"]) == (1.0, 1.0, 1.0)
    assert row["across"] == 0.75
    assert row["across, 0 healthy"] == pytest.approx(0.75, abs=0.05)
    assert row["across, 5 healthy"] > 0.95
    assert row["across, 10 healthy"] == ""  # there are not so many other brains
    assert row["entanglement"] == 0.5


def test_what_was_not_computed_has_no_row(rows):
    assert ("brightness", "noise") not in rows
