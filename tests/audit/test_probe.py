from __future__ import annotations

import numpy as np
import pytest

from aberra.audit.bias_page import by_site_alone
from aberra.audit.maps import tsne
from aberra.audit.probe import cramers_v, expect_sites, histogram, intensities, probe
from aberra.errors import InputError
from aberra.volume import Volume

NAMES = [f"c{number}" for number in range(20)]
SITES = ["a"] * 10 + ["b"] * 10


def test_sites_that_differ_are_told_and_sites_that_do_not_are_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20, 4))
    apart = noise + 6 * (np.array(SITES) == "b")[:, None]
    found = probe(apart, SITES, NAMES, NAMES, permutations=9)
    assert (found.accuracy, found.chance, found.p) == (1.0, 0.5, 0.1)
    assert found.told == dict(zip(NAMES, SITES, strict=True))
    assert probe(noise, SITES, NAMES, NAMES, permutations=9).p > 0.1


def test_a_patient_is_told_by_others_only():
    """Two scans a patient, alike to the last bit and of no site in particular: whoever had seen one
    would know the other.
    """
    people = np.random.default_rng(1).normal(size=(12, 30))
    values = np.repeat(people, 2, axis=0)
    sites, patients = np.repeat(["a", "b"] * 6, 2), np.repeat(np.arange(12).astype(str), 2)
    told = probe(values, sites, patients, [f"c{n}" for n in range(24)], permutations=0)
    assert told.accuracy < 0.85


def test_sites_of_one_patient_are_left_out():
    values = np.arange(21.0)[:, None]
    found = probe(values, [*SITES, "z"], [*NAMES, "z"], [*NAMES, "z"], permutations=0)
    assert found.chance == 0.5
    assert "z" not in found.told
    assert probe(values[:3], ["a", "a", "b"], ["1", "2", "3"], ["1", "2", "3"], permutations=0) is None


def test_cramers_v_is_the_correlation_of_two_classes_at_two_sites():
    rng = np.random.default_rng(0)
    sites, classes = rng.integers(2, size=50), rng.integers(2, size=50)
    table = np.array([[np.sum((sites == i) & (classes == j)) for j in (0, 1)] for i in (0, 1)])
    assert cramers_v(table) == pytest.approx(abs(np.corrcoef(sites, classes)[0, 1]))
    assert cramers_v(np.array([[3, 0], [4, 0]])) is None


def test_a_histogram_of_quantiles_is_that_of_the_values():
    rng = np.random.default_rng(0)
    volume = Volume(
        data=rng.normal(100, 10, size=(1, 20, 20, 20)).astype(np.float32), affine=np.eye(4), mask=np.ones((20, 20, 20), bool)
    )  # fmt: skip
    (quantiles,) = intensities(volume)
    found = histogram(quantiles, 80, 120, bins=8)
    expected = np.histogram(volume.data, np.linspace(80, 120, 9))[0] / volume.data.size
    np.testing.assert_allclose(found, expected, atol=0.01)
    constant = histogram(np.full(99, 5.0), 0.0, 10.0, bins=4)
    assert constant.sum() == pytest.approx(1)
    assert constant.max() == pytest.approx(1)


def test_who_knows_sites_alone_tells_the_class_of_most():
    assert by_site_alone(["healthy", "diseased", "healthy", "diseased"], ["a", "a", "b", "b"]) == 0.5
    assert by_site_alone(["healthy", "diseased", "diseased"], ["a", "b", "b"]) == 1.0


def test_few_cases_have_no_map():
    assert tsne(np.zeros((4, 3))) is None
    assert tsne(np.random.default_rng(0).normal(size=(6, 3))).shape == (6, 2)


def test_cohorts_without_sites_are_refused():
    with pytest.raises(InputError, match=r"2 case\(s\) without a site"):
        expect_sites(["a", "", ""], "mine.csv", "site")
    with pytest.raises(InputError, match="column 'site' has a alone"):
        expect_sites(["a", "a"], "mine.csv", "site")
