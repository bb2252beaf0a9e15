"""Masks and truth: labels are labels, and what is none is cut in the middle with a word."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aberra.cohort import Cohort
from aberra.cohort.doctor import examine
from aberra.errors import InputError
from aberra.io import is_whole, labels_of, read_mask
from aberra.volume import Volume

BALL = ((np.indices((20, 21, 22)) - 10) ** 2).sum(axis=0) < 30


def _soft(mask, width=0.7):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(mask.astype(np.float32), width)


@settings(max_examples=60, deadline=None)
@given(
    labels=arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 12)),
    noise=arrays(np.float32, (3, 4, 5), elements=st.floats(-(2.0**-17), 2.0**-17, width=32)),
)
def test_labels_survive_rounding(labels, noise):
    found, note = labels_of(labels + noise)
    np.testing.assert_array_equal(found, labels)
    assert not note
    assert is_whole(labels + noise)


@pytest.mark.parametrize("slope", [1 / 255, 1 / 3, 0.1])
def test_labels_of_a_scaled_file(slope, tmp_path):
    labels = (BALL * 3 + np.roll(BALL, 4, axis=0)).astype(np.uint8)
    image = nib.Nifti1Image(np.round(labels / slope).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(slope, 0)
    image.to_filename(tmp_path / "mask.nii.gz")
    found, note = labels_of(Volume.read(tmp_path / "mask.nii.gz").data[0])
    np.testing.assert_array_equal(found, labels)
    assert not note


def test_an_interpolated_mask_is_cut_at_half_and_said():
    found, note = labels_of(_soft(BALL), "truth.nii.gz")
    assert 0.8 < found.sum() / BALL.sum() < 1.2
    assert (_soft(BALL) > 0).sum() > 2 * BALL.sum()
    assert "truth.nii.gz" in note
    assert "cut at 0.5" in note
    several, note = labels_of(_soft(BALL) * 4)
    assert set(np.unique(several)) == {0, 1}
    assert "cut at 0.5" in note
    overshoot, note = labels_of(_soft(BALL) * 1.2 - 0.1)
    assert overshoot.sum() > 0
    assert "cut at 0.5" in note


def test_masks_that_reach_255():
    np.testing.assert_array_equal(labels_of(BALL * np.float32(255))[0], BALL * 255)
    grey, note = labels_of(np.rint(_soft(BALL) * 255))
    np.testing.assert_array_equal(grey, np.rint(_soft(BALL) * 255) > 127.5)
    assert "cut at 127.5" in note
    found, note = labels_of(_soft(BALL) * np.float32(255 / _soft(BALL).max()))
    assert "cut at 127.5" in note
    assert 0.8 < found.sum() / BALL.sum() < 1.2


def test_a_mask_of_two_values_is_a_mask_whatever_they_are():
    for value in (0.5, 0.25, 1 / 255, 17.3):
        found, note = labels_of(BALL * np.float32(value))
        np.testing.assert_array_equal(found, BALL)
        assert not note


def test_nothing_is_made_of_nothing():
    rng = np.random.default_rng(0)
    for empty in (
        BALL * 0.0,
        BALL * 0.0 + 1e-6,
        1e-6 * rng.random(BALL.shape),
        -1e-7 * rng.random(BALL.shape),
    ):
        found, note = labels_of(empty.astype(np.float32))
        assert not found.any()
        assert not note


def test_large_labels_are_one_kind_and_negative_ones_are_none():
    found, note = labels_of(BALL * np.float32(1001))
    np.testing.assert_array_equal(found, BALL)
    assert "above 255" in note
    with pytest.raises(InputError, match=r"seg\.nii\.gz: values from -1 to 0"):
        labels_of(BALL * np.float32(-1), "seg.nii.gz")
    found, note = labels_of(BALL * np.float32(2) - 1)
    np.testing.assert_array_equal(found, BALL)
    assert note


@pytest.fixture
def cohort(tmp_path):
    rng = np.random.default_rng(0)
    scan = Volume(
        data=(np.roll(BALL, 2, axis=0) * (100 + 10 * rng.random(BALL.shape)))[None], affine=np.eye(4)
    )
    scan.write(tmp_path / "scan.nii.gz")
    scan.with_(data=_soft(BALL)[None]).write(tmp_path / "soft.nii.gz")
    scan.with_(data=BALL[None], channels=("mask",)).write(tmp_path / "hard.nii.gz")
    (tmp_path / "manifest.csv").write_text(
        "case,t1,mask,lesion\nboth,scan.nii.gz,soft.nii.gz,soft.nii.gz\ngood,scan.nii.gz,hard.nii.gz,hard.nii.gz\n"
    )
    return tmp_path / "manifest.csv"


def test_mask_and_truth_of_a_case_are_cut_alike_and_the_user_hears_of_both(cohort):
    both, good = (case.read() for case in Cohort.read(cohort))
    np.testing.assert_array_equal(both.mask, _soft(BALL) > 0.5)
    np.testing.assert_array_equal(both.lesion, both.mask)
    assert len(both.provenance["warnings"]) == 2
    assert all("soft.nii.gz" in note for note in both.provenance["warnings"])
    assert good.provenance["warnings"] == []
    said = [each for each in examine(cohort).findings if "cut at 0.5" in each.what]
    assert {each.level for each in said} == {"warn"}
    assert {each.cases for each in said} == {("both",)}
    notes = []
    read_mask(cohort.parent / "soft.nii.gz", good, notes)
    assert len(notes) == 1
