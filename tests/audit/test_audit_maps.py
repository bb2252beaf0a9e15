"""Cases on a plane."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from aberra.audit.maps import expect, places, plane
from aberra.errors import ConfigError


def test_the_plane_has_two_axes_whatever_there_is():
    assert plane(np.ones((3, 1)), np.ones((2, 1))).shape == (3, 2)
    values = np.random.default_rng(0).normal(size=(9, 4))
    np.testing.assert_array_equal(plane(values, values), places(values, values, "pca"))


def test_umap_without_its_package_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match=r"pip install 'aberra\[umap\]'"):
        expect("umap")
    expect("pca")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # numba's and umap's own
def test_umap_keeps_groups_together():
    pytest.importorskip("umap", reason="pip install 'aberra[umap]'")
    rng = np.random.default_rng(0)
    centres = np.repeat(10 * np.eye(8)[:3], 12, axis=0)
    values = centres + rng.normal(size=centres.shape)
    found = places(values, values, "umap")
    assert found.shape == (36, 2)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert all(nearest // 12 == case // 12 for case, nearest in enumerate(gaps.argmin(axis=1)))
    np.testing.assert_array_equal(found, places(values, values, "umap"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap_needs_neighbours():
    pytest.importorskip("umap", reason="pip install 'aberra[umap]'")
    with pytest.raises(ConfigError, match=r"3 case\(s\), expected 4"):
        places(np.ones((3, 2)), np.ones((3, 2)), "umap")
