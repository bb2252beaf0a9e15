from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aberra.errors import ConfigError
from aberra.metrics.regimes import Kinds, areas, kinds_of, per_scan

# slices of the thesis' test set: 75 volumes of 155
THESIS = Kinds(lesion=3505, free=3315, healthy=4805)
SLICE = st.tuples(st.integers(0, 4), st.sampled_from([(True, True), (False, True), (False, False)]))


@settings(deadline=None)  # the first call imports
@given(st.lists(SLICE, min_size=3, max_size=40))
def test_both_regimes_are_mixtures_of_three_areas_ties_included(slices):
    scores = [score for score, _ in slices]
    lesion, ill = zip(*(kind for _, kind in slices), strict=True)
    kinds, found = kinds_of(lesion, ill), areas(scores, lesion, ill)
    if not (kinds.lesion and kinds.free and kinds.healthy):
        assert None in found.values()
        return
    mixed = kinds.mixed(a=found["a"], b=found["b"], c=found["c"])
    np.testing.assert_allclose(mixed, [found["slice_auroc"], found["clinical_auroc"]], atol=1e-12)


def test_the_counts_of_the_thesis_are_whole_volumes():
    assert THESIS.lesion + THESIS.free + THESIS.healthy == 75 * 155
    assert THESIS.lesion + THESIS.free == 44 * 155
    assert THESIS.free + THESIS.healthy == 8120


@pytest.mark.parametrize(
    ("slice_wise", "clinical", "area", "end", "value"),
    [
        (0.783, 0.822, "c", 0, 0.634),
        (0.783, 0.822, "a", 0, 0.468),
        (0.741, 0.766, "c", 0, 0.519),
        (0.795, 0.636, "c", 1, 0.617),
        (0.803, 0.673, "c", 1, 0.679),
    ],
)
def test_what_published_numbers_leave_open(slice_wise, clinical, area, end, value):
    assert THESIS.bounds(slice_wise, clinical)[area][end] == pytest.approx(value, abs=6e-4)


def test_bounds_hold_the_areas_that_made_the_numbers():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c = rng.random(3)
        bounds = THESIS.bounds(*THESIS.mixed(a=a, b=b, c=c))
        for name, value in (("a", a), ("b", b), ("c", c)):
            low, high = bounds[name]
            assert low - 1e-9 <= value <= high + 1e-9


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="no three areas"):
        THESIS.bounds(1.0, 0.1)
    with pytest.raises(ConfigError, match="three kinds"):
        Kinds(lesion=3, free=0, healthy=2).bounds(0.5, 0.5)


def test_a_score_of_the_patient_alone_shows():
    rng = np.random.default_rng(1)
    ill = np.repeat([False, True], 400)
    lesion = ill & (rng.random(800) < 0.5)
    found = areas(ill + 0.1 * rng.random(800), lesion, ill)
    assert found["clinical_auroc"] == found["c"] == 1.0
    assert found["a"] == pytest.approx(0.5, abs=0.08)


def test_a_scan_has_one_score():
    scores, scans = [0, 5, 2, 3, 1, 1], [7, 7, 1, 1, 2, 2]
    np.testing.assert_array_equal(per_scan(scores, scans), [3, 1, 5])
    np.testing.assert_array_equal(per_scan(scores, scans, reduce="mean"), [2.5, 1, 2.5])
