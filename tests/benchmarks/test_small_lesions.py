from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from small_lesions import Sparse, as_table, threshold_at


def _map(peaks, shape=(20, 20, 20)):
    """Low noise with cubes of 3³ voxels of the given heights."""
    values = np.random.default_rng(0).random(shape).astype(np.float32) * 0.01
    for number, height in enumerate(peaks):
        at = 5 * number
        values[2:5, 2:5, at : at + 3] = height
    return Sparse(values, np.ones(shape, bool), 1.0)


def test_the_threshold_leaves_one_region_a_scan_in_the_mean():
    maps = [_map([0.9, 0.8, 0.3]), _map([0.5])]
    threshold = threshold_at(1.0, maps)
    assert 0.3 <= threshold < 0.5 + 1e-6  # 0.9 and 0.8 of the one, at most the other's 0.5
    assert sum(each.regions(threshold) for each in maps) <= 2
    assert sum(each.regions(0.29) for each in maps) > 2


def test_specks_are_no_regions():
    values = np.zeros((10, 10, 10), np.float32)
    values[1, 1, 1:8] = 1.0  # 7 mm³
    values[5:7, 5:7, 5:7] = 1.0  # 8 mm³
    assert Sparse(values, np.ones(values.shape, bool), 1.0).regions(0.5) == 1


def test_maps_without_false_positives_have_no_threshold():
    with pytest.raises(SystemExit, match="no more than 1"):
        threshold_at(1.0, [Sparse(np.zeros((5, 5, 5), np.float32), np.ones((5, 5, 5), bool), 1.0)])


def test_the_table_has_a_column_a_volume_and_says_how_many():
    common = {
        "detector": "flair", "false_positives_a_diseased_scan": 1.25, "healthy": 16, "diseased": 32, "date": "2001-02-03"
    }  # fmt: skip
    rows = [
        common | {"from_mm3": 8.0, "to_mm3": 100.0, "lesions": 4, "found": 1, "recall": 0.25},
        common | {"from_mm3": 100.0, "to_mm3": float("inf"), "lesions": 0, "found": 0, "recall": ""},
    ]
    header, _, line, *_ = as_table(rows).splitlines()
    assert header == "| FLAIR, drawn | 8–100 mm³ | > 100 mm³ | false a diseased scan |"
    assert line == "| `flair` | 0.25 (1 of 4) |  | 1.2 |"
