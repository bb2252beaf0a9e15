"""What an evaluation counts, on arrays whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from aberra.metrics.voxel import Overlap
from aberra.volume import Volume
from aberra.workflows.tally import LADDER, Compared, Tally, ladder

CALIBRATION = {"thresholds": {"healthy-fpr-5": 0.5}, "default": "healthy-fpr-5", "scale": {"high": 1.0}}


def _compared(scores, truth, mask):
    shape = (1, 4, 4)
    return Compared(
        map=Volume(data=np.reshape(scores, (1, *shape)).astype(np.float32), affine=np.eye(4)),
        mask=np.reshape(mask, shape),
        labels=np.reshape(truth, shape).astype(np.uint8),
        region=np.ones(shape, dtype=bool),
        spread=None,
        kinds=None,
        second=None,
    )


def test_pools_and_cases():
    tally = Tally(CALIBRATION, replicates=20, seed=0, curves=False)
    truth = np.arange(16) < 4
    above = np.arange(16) < 8  # all four hits and four false alarms
    row = tally.add("p1", _compared(np.where(above, 0.9, 0.1), truth, truth))
    tally.cases.append(
        row
        | {"case": "a", "patient": "p1", "label": 1, "score": 2.0, "p": 0.1, "groups": {}, "protocol": "x"}
    )
    none = np.zeros(16, dtype=bool)
    row = tally.add("p2", _compared(np.full(16, 0.1), none, none))
    tally.cases.append(
        row
        | {"case": "b", "patient": "p2", "label": 0, "score": 1.0, "p": 0.6, "groups": {}, "protocol": "x"}
    )

    summary = tally.summary()
    at = summary["voxel"]["at_threshold"]["healthy-fpr-5"]
    assert at["dice"] == at["dice_mean"] == pytest.approx(8 / 12)
    assert (at["sensitivity"], at["precision"]) == (1.0, 0.5)
    assert summary["voxel"]["pooled"]["positives"] == 4
    assert summary["mask"] | {"protocol": "x"} == {
        "protocol": "x", "cases": 1, "empty": 0, "empty_healthy": 1, "dice": 1.0, "jaccard": 1.0, "hd95_mm": 0.0,
            "volume_difference": 0.0,
    }  # fmt: skip
    assert summary["lesion"]["protocol"] == "healthy-fpr-5"
    assert (summary["case"]["healthy"], summary["case"]["diseased"], summary["case"]["auroc"]) == (1, 1, 1.0)


def test_probabilities_of_cases_are_held_against_their_labels():
    tally = Tally(CALIBRATION, replicates=20, seed=0, curves=False)
    for index, (p, label) in enumerate(
        [(0.9, 1), (0.8, 1), (0.4, 1), (0.6, 0), (0.1, 0), (0.2, 0), (0.3, 0)]
    ):
        name = str(index)
        tally.cases.append(
            {
                "case": name,
                "patient": name,
                "label": label,
                "score": p,
                "p": None,
                "probability": p,
                "groups": {},
            }
        )
    found = tally.summary()["case"]
    assert found["accuracy"] == pytest.approx(5 / 7)
    expected = 3 / 7 * 3 / 7 + 4 / 7 * 4 / 7  # as many are called diseased as are
    assert found["kappa"] == pytest.approx((5 / 7 - expected) / (1 - expected))
    squares = [0.1, 0.2, 0.6, 0.6, 0.1, 0.2, 0.3]
    assert found["brier"] == pytest.approx(np.mean(np.square(squares)))
    assert found["ece"] == pytest.approx(np.mean(squares))  # a bin each: the gaps themselves
    tally.cases[0]["probability"] = None
    assert tally.summary()["case"]["accuracy"] == pytest.approx(4 / 6)  # of those that have one


def test_without_probabilities_nothing_is_said_of_them():
    tally = Tally(CALIBRATION, replicates=20, seed=0, curves=False)
    tally.cases.append({"case": "a", "patient": "a", "label": 1, "score": 2.0, "p": None, "groups": {}})
    assert "accuracy" not in tally.summary()["case"]


def test_the_ladder_ends_above_the_colour_scale_and_needs_no_calibration():
    steps = ladder(CALIBRATION | {"thresholds": {"healthy-fpr-10": 0.25}})
    assert (len(steps), steps[0], steps[-1]) == (LADDER, pytest.approx(0.25), pytest.approx(2.0))
    assert ladder({})[0] > 0


def test_the_ladder_of_a_probability_is_as_close_near_one_as_near_zero():
    """Many false positives of a network lie above 0.9: a ladder beyond 1 would find nothing left."""
    steps = ladder(CALIBRATION | {"thresholds": {"healthy-fpr-10": 0.01, "fixed-0.5": 0.5}})
    assert len(steps) == LADDER
    assert steps[0] == pytest.approx(0.01)
    assert sum(step > 0.9 for step in steps) >= 5
    assert max(steps) < 1


def test_the_average_otsu_threshold_is_the_mean_over_the_cases_and_has_a_dice_of_its_own():
    thresholds = {"thresholds": {"healthy-fpr-1": 0.5}, "default": "healthy-fpr-1"}
    tally, rng, maps = Tally(thresholds, replicates=5, seed=0, curves=False), np.random.default_rng(0), []
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    mask = np.zeros(labels.shape, bool)
    mask[1:4, 1:4, 1:4] = mask[4, 1:4, 1:4] = True  # a third larger than the truth
    for patient, height in (("a", 1.0), ("a", 1.0), ("b", 0.1)):
        values = (height * (rng.random(labels.shape) / 4 + 0.7 * labels)).astype(np.float32)
        maps.append(values)
        volume = Volume(data=values[None], affine=np.eye(4))
        case = Compared(volume, mask, labels, np.ones(labels.shape, bool), None, None, None)
        row = {"case": patient, "patient": patient, "label": 1, "score": 1.0, "p": None, "groups": {}}
        tally.cases.append(row | {"protocol": "x"} | tally.add(patient, case))
    untold = {"case": "c", "patient": "c", "label": 1, "score": 1.0, "p": None, "groups": {}}
    tally.cases.append(untold)  # a case without truth counts nowhere
    summary = tally.summary()
    found = summary["voxel"]["at_threshold"]["average-otsu"]
    threshold = np.mean([threshold_otsu(values) for values in maps])
    dice = [Overlap.of(values > threshold, labels > 0).dice for values in maps]
    assert found["threshold"] == pytest.approx(threshold)
    assert dice[0] > 0.4 > dice[2] == 0  # the mean of the cuts does not suit the case of another height
    assert found["dice_mean"] == pytest.approx(np.mean(dice), abs=0.01)
    patients = np.mean(dice[:2]), dice[2]  # a patient with two scans counts once
    assert found["dice_patient_mean"] == pytest.approx(np.mean(patients), abs=0.01)
    assert found["dice_patient_std"] == pytest.approx(np.std(patients), abs=0.01)
    assert summary["mask"]["volume_difference"] == pytest.approx(1 / 3)
