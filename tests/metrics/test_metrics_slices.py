from __future__ import annotations

import numpy as np

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
