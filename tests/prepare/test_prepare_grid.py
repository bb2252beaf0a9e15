"""Faces of the field of view: where a map is most easily lost."""

from __future__ import annotations

import numpy as np
import pytest

from aberra.prepare import back, resample_to
from aberra.prepare.orient import Orient
from aberra.prepare.register import Register
from aberra.prepare.resample import Resample
from aberra.volume import Volume


def _oblique(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.4, 5, 3)
    affine[:3, 3] = rng.normal(size=3) * 100
    return affine, rng


@pytest.mark.parametrize("seed", range(40))
def test_orient_and_back_is_exact_to_the_last_bit_and_voxel(seed):
    affine, rng = _oblique(seed)
    data = rng.random((2, *rng.integers(1, 9, 3)), dtype=np.float32)
    volume = Volume(data=data, affine=affine, channels=("t1", "t2"))
    turned = Orient()(volume)
    np.testing.assert_array_equal(back(turned.data, turned, volume), volume.data)


@pytest.mark.parametrize("spacing", [0.7, 1.2, 1.9, 3.3])
def test_a_constant_scan_stays_constant_up_to_its_faces(spacing):
    volume = Volume(data=np.ones((1, 10, 11, 12)), affine=_oblique(1)[0] * [[2], [2], [2], [1]])
    volume = volume.with_(mask=np.ones(volume.shape, bool))
    changed = Resample(spacing=[spacing * step for step in volume.spacing])(volume)
    np.testing.assert_allclose(changed.data, 1, atol=1e-6)
    assert changed.mask.all()
    np.testing.assert_allclose(back(changed.data, changed, volume), 1, atol=1e-6)


def test_nothing_beyond_half_a_voxel_is_made_up():
    source = np.ones((4, 4, 4), np.float32)
    shifted = np.eye(4)
    shifted[:3, 3] = -4.6
    for order in (0, 1):
        found = resample_to(source, np.eye(4), shifted, (12, 12, 12), order=order)
        inside = np.zeros((12, 12, 12), bool)
        inside[5:9, 5:9, 5:9] = True  # centres at 0.4 ... 3.4
        np.testing.assert_array_equal(found > 0, inside)
        shifted_half = shifted.copy()
        shifted_half[:3, 3] = -4.4  # centres at -0.4 ... 2.6, the next one at 3.6 is outside
        found = resample_to(source, np.eye(4), shifted_half, (12, 12, 12), order=order)
        assert found[4:8, 4:8, 4:8].all()
        assert found.sum() == 64


def test_slabs_join_without_a_seam(monkeypatch):
    affine, rng = _oblique(3)
    source = rng.random((9, 10, 11), dtype=np.float32)
    target = affine @ np.diag([0.6, 0.7, 0.8, 1])
    whole = resample_to(source, affine, target, (17, 15, 13))
    monkeypatch.setattr("aberra.prepare.grid.SLAB_VOXELS", 1)
    np.testing.assert_array_equal(resample_to(source, affine, target, (17, 15, 13)), whole)


def test_images_pass_registration_untouched():
    volume = Volume(data=np.ones((1, 1, 8, 8)), affine=np.eye(4))
    assert Register()(volume) is volume
