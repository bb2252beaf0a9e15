from __future__ import annotations

import numpy as np
import pytest

from aberra.errors import ConfigError
from aberra.prepare.curvature_flow import CurvatureFlow
from aberra.registry import build
from aberra.volume import Volume


def _volume(shape=(12, 16, 16), spacing=0.4):
    """Two tissues with noise, and the truth without."""
    clean = np.zeros(shape, np.float32)
    clean[..., shape[-1] // 2 :] = 1
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Volume(
        data=np.stack([noisy, 2 * noisy]), affine=np.diag([spacing] * 3 + [1.0]), channels=("a", "b")
    ), clean


def test_noise_goes_and_the_edge_stays():
    volume, clean = _volume()
    found = build("prepare", {"name": "curvature-flow"})(volume)
    before, after = (np.abs(each.data[0] - clean).mean() for each in (volume, found))
    assert after < 0.7 * before
    edge = found.data[0][..., 8].mean() - found.data[0][..., 7].mean()
    assert edge > 0.85
    np.testing.assert_allclose(found.data[1], 2 * found.data[0], atol=0.02)  # each channel by itself


def test_a_slice_is_smoothed_as_an_image_and_the_voxel_size_does_not_matter():
    volume, clean = _volume((1, 24, 24))
    found = CurvatureFlow()(volume)
    assert np.abs(found.data[0] - clean).mean() < 0.7 * np.abs(volume.data[0] - clean).mean()
    large = volume.with_(affine=np.diag([5.0, 5.0, 5.0, 1.0]))
    np.testing.assert_array_equal(CurvatureFlow()(large).data, found.data)


def test_a_step_that_is_not_stable_is_refused():
    with pytest.raises(ConfigError, match="step"):
        CurvatureFlow(step=0.5)
