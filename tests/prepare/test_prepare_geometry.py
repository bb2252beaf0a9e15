from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from aberra.errors import ConfigError
from aberra.prepare import Recipe, back, resample_to
from aberra.prepare.crop import Crop
from aberra.prepare.orient import Orient
from aberra.prepare.resample import Resample
from aberra.volume import Volume
from strategies import affines

CODES = ["RAS", "LPS", "SPL", "PSR", "ILA", "ASR", "LAS"]


@settings(max_examples=20, deadline=None)
@given(affine=affines(), to=st.sampled_from(CODES))
def test_orient_and_back_is_exact(affine, to):
    data = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    volume = Volume(data=data, affine=affine, mask=data[0] > 0.5)
    turned = Orient(to=to)(volume)
    assert turned.orientation == to
    np.testing.assert_allclose(back(turned.data, turned, volume), data, atol=1e-5)
    np.testing.assert_array_equal(back(turned.mask, turned, volume, order=0) > 0, volume.mask)


@settings(max_examples=20, deadline=None)
@given(affine=affines())
def test_a_blob_returns_to_where_it_was(affine):
    grid = np.indices((22, 24, 26))
    centre = np.array([10, 13, 12]).reshape(3, 1, 1, 1)
    radius = np.sqrt(
        (((grid - centre) * Volume(data=np.zeros((1, 1, 1, 1)), affine=affine).spacing[0]) ** 2).sum(axis=0)
    )
    data = np.exp(-((radius / 5) ** 2)).astype(np.float32)
    volume = Volume(data=data[None], affine=affine, mask=data > 0.01)
    recipe = Recipe.from_config(
        [
            {"name": "orient"},
            {"name": "resample", "spacing": [1.5, 1.5, 1.5]},
            {"name": "crop", "shape": [0, 112, 112]},
        ]
    )
    prepared = recipe(volume)
    found = back(prepared.data, prepared, volume)
    assert found.shape == (1, 22, 24, 26)
    assert np.abs(np.array(center_of_mass(found[0])) - center_of_mass(data)).max() < 0.5


def test_resampling_keeps_the_field_of_view_and_the_mean():
    volume = Volume(data=np.random.default_rng(0).random((1, 20, 30, 40)), affine=np.diag([1.0, 1, 1, 1]))
    coarse = Resample(spacing=[2, 3, 0])(volume)
    assert coarse.shape == (10, 10, 40)
    np.testing.assert_allclose(coarse.spacing, (2, 3, 1))
    middle = [
        ((volume.affine if v is volume else v.affine) @ [*((np.array(v.shape) - 1) / 2), 1])[:3]
        for v in (volume, coarse)
    ]
    np.testing.assert_allclose(*middle)
    assert coarse.data.mean() == pytest.approx(volume.data.mean(), abs=0.01)


def test_a_single_slice_finds_back():
    volume = Volume(data=np.random.default_rng(0).random((1, 1, 20, 20)), affine=np.eye(4))
    prepared = Crop(shape=[0, 32, 32], centre="grid")(volume)
    np.testing.assert_allclose(back(prepared.data, prepared, volume), volume.data, atol=1e-6)


def test_cutting_foreground_off_is_said():
    volume = Volume(data=np.ones((1, 10, 20, 20)), affine=np.eye(4), mask=np.ones((10, 20, 20), bool))
    assert "field of view" in Crop(shape=[0, 16, 16])(volume).provenance["warnings"][0]


def test_large_targets_are_resampled_by_slab():
    source = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)
    affine = np.diag([4.0, 4, 4, 1])
    tracemalloc.start()
    found = resample_to(source, affine, np.eye(4), (160, 160, 160))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * found.nbytes


def test_unknown_orientation_is_refused():
    with pytest.raises(ConfigError, match="orientation"):
        Orient(to="XYZ")
