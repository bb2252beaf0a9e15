"""A shift score that sees scanners and overlooks lesions, on controlled pairs of phantoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aberra.audit.features import feature_names, shift_features
from aberra.audit.pairs import CONTROLLED, shifted
from aberra.audit.shift import ShiftScore, moved_by_lesions
from aberra.errors import CalibrationError, ConfigError
from aberra.metrics.case import auroc
from aberra.synthesis.lesions import draw_lesion, plant
from aberra.synthesis.phantom import draw_phantom, render
from aberra.volume import Volume

REFERENCE, TESTED = 20, 6


ACQUISITION = ("means", "texture", "folding", "bias", "noise", "slice_blur_mm", "gain")


def in_one_scanner(number):
    """A head of its own, drawn as the scanner of the first one shows it."""
    first = draw_phantom(4, 0, "t1")
    return render(
        replace(draw_phantom(4, number, "t1"), **{name: getattr(first, name) for name in ACQUISITION}), 4.0
    )


@pytest.fixture(scope="module")
def pairs():
    """Heads in one scanner: the score, and scores of healthy and lesional ones in all shifts."""
    scans = [in_one_scanner(number) for number in range(REFERENCE + TESTED)]
    reference = np.stack([shift_features(scan) for scan in scans[:REFERENCE]])
    moved = np.concatenate([moved_by_lesions(scan, [1, number], 2) for number, scan in enumerate(scans[:8])])
    score = ShiftScore.of(reference, moved, feature_names(["t1"]))
    found = {}
    for number, scan in enumerate(scans[REFERENCE:]):
        lesion = draw_lesion(scan, np.random.default_rng(number), radius_mm=(10.0, 18.0))
        for sick, volume in enumerate((scan, plant(scan, lesion)[0])):
            for name in ("none", *CONTROLLED):
                seen = volume if name == "none" else shifted(name, volume, severity=0.8, case=number)
                found.setdefault((name, sick), []).append(score(shift_features(seen)))
    return score, found


@pytest.mark.parametrize("name", CONTROLLED)
@pytest.mark.parametrize("sick", [0, 1])
def test_a_shift_is_told_whether_there_is_a_lesion_or_not(pairs, name, sick):
    _, found = pairs
    plain, moved = found["none", 0], found[name, sick]
    assert auroc([*plain, *moved], [0] * len(plain) + [1] * len(moved)) >= 0.9


def test_a_lesion_moves_it_less_than_any_shift(pairs):
    _, found = pairs
    plain = np.array(found["none", 0])
    by_lesion = np.abs(np.array(found["none", 1]) - plain).mean()
    for name in CONTROLLED:
        assert by_lesion < 0.5 * np.abs(np.array(found[name, 0]) - plain).mean(), name


def test_forgiving_lesions_makes_it_blinder_to_them(pairs):
    score, _ = pairs
    sharp = ShiftScore.of(score.reference, score.lesions[:0], score.names)
    middle = np.median(score.reference, axis=0)
    forgiven = [score(middle + step) for step in score.lesions]
    assert np.mean(forgiven) < 0.9 * np.mean([sharp(middle + step) for step in score.lesions])


def test_the_unit_of_intensity_is_no_shift(pairs):
    score, _ = pairs
    scan = in_one_scanner(1)
    features = shift_features(scan)
    np.testing.assert_allclose(shift_features(scan.with_(data=300 * scan.data)), features, atol=1e-3)
    assert features.shape == (len(score.names),)


def test_reference_scans_have_p_values_of_their_own_kind(pairs):
    score, _ = pairs
    assert score.p_value(max(score.each) + 1) == 1 / (REFERENCE + 1)
    assert score.p_value(min(score.each)) == 1.0


def test_what_departs_is_named():
    seen = np.random.default_rng(0).normal(size=(20, 2))
    score = ShiftScore.of(seen, np.zeros((0, 2)), ("noise", "blur"))
    assert score.reasons([9.0, 0.0], 1) == ("noise",)
    assert list(score.nearest([9.0, 0.0], np.array([[0.0, 0.0], [8.0, 0.0]]), 1)) == [1]


def test_too_few_scans_are_refused():
    with pytest.raises(CalibrationError, match="3 healthy reference scan"):
        ShiftScore.of(np.zeros((3, 2)), np.zeros((0, 2)), ("a", "b"))


@pytest.mark.parametrize("name", CONTROLLED)
def test_a_shift_keeps_grid_and_truth_and_is_drawn_from_its_seeds(name):
    scan = in_one_scanner(1)
    sick, _ = plant(scan, draw_lesion(scan, np.random.default_rng(0), radius_mm=(10.0, 12.0)))
    once, again = (shifted(name, sick, site=3, case=5) for _ in range(2))
    np.testing.assert_array_equal(once.data, again.data)
    assert once.same_grid(sick)
    assert once.lesion.sum() == sick.lesion.sum()
    assert not np.array_equal(once.data, sick.data)


def test_an_image_has_features_and_shifts_too():
    image = Volume(
        data=np.random.default_rng(0).random((1, 1, 64, 64)).astype(np.float32),
        affine=Volume(data=np.zeros((1, 1, 2, 2), np.float32), affine=np.eye(4)).affine,
    )
    assert np.isfinite(shift_features(image)).all()
    assert shifted("flip", image).shape == image.shape
    assert np.isfinite(shift_features(image.with_(data=0 * image.data))).all()


def test_unknown_shifts_are_refused():
    scan = render(draw_phantom(4, 1, "t1"), 6.0)
    with pytest.raises(ConfigError, match="controlled shift"):
        shifted("rotation", scan)
    with pytest.raises(ConfigError, match="severity"):
        shifted("noise", scan, severity=2.0)
