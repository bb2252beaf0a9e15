from __future__ import annotations

import numpy as np
import pytest

from aberra.metrics.regimes import Kinds
from aberra.metrics.slices import LESION_VOXELS, SliceScores, superior_axis


def _case(axis=0):
    rng = np.random.default_rng(0)
    values = rng.random((10, 12, 12)).astype(np.float32)
    truth = np.zeros(values.shape, dtype=bool)
    truth[6, :5, :5] = True
    values[6] += 1
    region = np.ones(values.shape, dtype=bool)
    return [np.moveaxis(each, 0, axis) for each in (values, truth, region)]


def _affine(axis):
    order = [each for each in range(3) if each != axis]
    affine = np.zeros((4, 4))
    affine[2, axis] = -5.0
    affine[0, order[0]], affine[1, order[1]], affine[3, 3] = 1.0, 1.0, 1.0
    return affine


def test_slices_are_taken_along_superior_inferior_whatever_the_axis_order():
    found = []
    for axis in range(3):
        assert superior_axis(_affine(axis)) == axis
        slices = SliceScores()
        slices.add("p", *_case(axis), _affine(axis))
        found.append(slices.summary(replicates=10, seed=0))
    assert found[0]["slices"] == 10
    assert found[0]["with_lesion"] == 1
    assert found[0]["auroc"] == 1.0
    assert found[0] == found[1] == found[2]


def test_slices_with_hardly_any_lesion_or_brain_are_left_out():
    values, truth, region = _case()
    truth[2, 0, : LESION_VOXELS - 10] = True
    region[9] = False
    region[9, 0, :2] = True
    slices = SliceScores()
    slices.add("p", values, truth, region, _affine(0))
    assert len(slices.scores) == 8


def test_the_score_is_the_mean_inside_the_region():
    values, truth, region = _case()
    region[:, :, 6:] = False
    slices = SliceScores()
    slices.add("p", values, truth, region, _affine(0))
    np.testing.assert_allclose(slices.scores, values[:, :, :6].mean(axis=(1, 2)), rtol=1e-6)


def test_nothing_is_claimed_without_slices_of_both_kinds():
    slices = SliceScores()
    assert slices.summary(replicates=10, seed=0)["auroc"] is None
    values, truth, region = _case()
    slices.add("p", values, np.zeros_like(truth), region, _affine(0))
    assert slices.summary(replicates=10, seed=0)["auroc"] is None


def _cohort():
    """Two healthy scans, and two with a lesion in one slice, which is all that is bright."""
    slices = SliceScores()
    for patient, name in enumerate(("", "", "stroke", "tumour")):
        values, truth, region = _case()
        values[6] -= 1
        values[6] += 2 * bool(name)
        slices.add(f"p{patient}", values, truth & bool(name), region, _affine(0), pathology=name)
    return slices


def test_regimes_are_mixtures_of_their_parts():
    found = _cohort().summary(replicates=10, seed=0)
    regimes = found["regimes"]
    counts = {name: regimes[name] for name in ("lesion", "free", "healthy")}
    assert counts == {"lesion": 2, "free": 18, "healthy": 20}
    assert regimes["a"] == regimes["b"] == regimes["scan_auroc_max"] == 1
    mixed = Kinds(**counts).mixed(**{name: regimes[name] for name in "abc"})
    np.testing.assert_allclose(mixed, [found["auroc"], regimes["clinical_auroc"]])
    assert regimes["clinical_prevalence"] == 0.5
    assert regimes["c_interval"][0] <= regimes["c"] <= regimes["c_interval"][1]


def test_without_ill_scans_there_is_no_prevalence_to_hold_an_ap_against():
    slices = _cohort()
    slices.labels, slices.ill = [False] * len(slices.labels), [False] * len(slices.ill)
    regimes = slices.summary(replicates=2, seed=0)["regimes"]
    assert regimes["clinical_prevalence"] is regimes["clinical_ap"] is regimes["clinical_auroc"] is None


def test_the_area_of_all_is_the_mean_of_the_diseases_areas_by_slices():
    slices = _cohort()
    for number, (name, lesion) in enumerate(zip(slices.pathologies, slices.labels, strict=True)):
        slices.scores[number] = 0.5 if lesion and name == "stroke" else slices.scores[number]
    found = slices.summary(replicates=10, seed=0)
    stroke, tumour = found["pathologies"]
    assert (stroke["pathology"], stroke["scans"], stroke["slices"]) == ("stroke", 1, 1)
    assert tumour["auroc"] == 1 > stroke["auroc"]
    pooled = sum(each["slices"] * each["auroc"] for each in (stroke, tumour)) / found["with_lesion"]
    assert found["auroc"] == pytest.approx(pooled)
