from __future__ import annotations

import numpy as np
import pytest

from aberra.errors import ConfigError
from aberra.synthesis.filling import HALF, STEEPNESS, saturated
from aberra.synthesis.lesions import LesionParameters, draw_lesion, plant
from aberra.synthesis.poisson import poisson_blend
from aberra.volume import Volume


def _scan(seed, shape=(1, 40, 40), channels=2):
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(4, -4) if length > 1 else slice(None) for length in shape)] = True
    data = rng.uniform(0.5, 1.5, (channels, *shape)).astype(np.float32) * mask
    names = tuple(f"c{index}" for index in range(channels))
    return Volume(data=data, affine=np.diag([2.0, 2.0, 2.0, 1.0]), channels=names, mask=mask)


def _box(**options):
    given = {
        "shape": "box",
        "source": "foreign",
        "blend": "alpha",
        "label": "soft",
        "centre": (0, 20, 20),
        "radius_mm": 10.0,
        "stretch": (1.0, 1.0, 0.6),
        "strength": 0.4,
        "offset": (0, 0, 0),
        "seed": 1,
        "edge_mm": 0.0,
    }
    return LesionParameters(**given | options)


def test_a_foreign_patch_is_mixed_in_at_the_same_place_and_its_truth_is_the_weight():
    scan, other = _scan(1), _scan(2)
    planted, label = plant(scan, _box(factor=0.3), other)
    box = np.zeros(scan.shape, dtype=bool)
    box[0, 15:26, 17:24] = True  # 10 and 6 mm to either side at 2 mm
    np.testing.assert_allclose(label, np.where(box, np.float32(0.3), 0))
    np.testing.assert_allclose(
        planted.data[:, box], 0.7 * scan.data[:, box] + 0.3 * other.data[:, box], rtol=1e-5
    )
    np.testing.assert_array_equal(planted.data[:, ~box], scan.data[:, ~box])
    np.testing.assert_array_equal(planted.lesion, box)


def test_what_a_patch_does_not_change_is_not_truth():
    scan, other = _scan(1), _scan(2)
    same = other.data.copy()
    same[:, 0, 15:20] = scan.data[:, 0, 15:20]
    _, label = plant(scan, _box(factor=0.3), other.with_(data=same))
    assert not label[0, :20].any()
    assert (label[0, 20:26, 17:24] == np.float32(0.3)).all()


def test_nothing_is_planted_outside_the_foreground():
    scan, other = _scan(1), _scan(2)
    planted, label = plant(scan, _box(centre=(0, 5, 5), factor=0.8), other)
    assert not label[~scan.mask].any()
    assert label.any()
    np.testing.assert_array_equal(planted.data[:, ~scan.mask], scan.data[:, ~scan.mask])


@pytest.mark.parametrize("shape", [(1, 40, 40), (24, 24, 24)])
def test_drawn_boxes_have_the_edges_asked_for_and_lie_in_the_core(shape):
    scan = _scan(3, shape)
    low, high = 0.2, 0.4
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = draw_lesion(
            scan, rng, sources=["foreign"], shapes=["box"], edges=(low, high), edge_mm=(0.0, 0.0)
        )
        assert drawn.offset == (0, 0, 0)
        assert (drawn.factor, drawn.edge_mm, drawn.scale, drawn.gain) == (1.0, 0.0, 1.0, 1.0)
        for centre, length in zip(drawn.centre, shape, strict=True):
            assert 0.1 * length - 1 <= centre <= 0.9 * length
        _, label = plant(scan, drawn, _scan(4, shape))
        for axis, length in enumerate(shape):
            if length > 1:
                edge = np.flatnonzero(label.any(axis=tuple({0, 1, 2} - {axis}))).size
                assert edge <= high * length + 1
    cube = draw_lesion(
        scan, np.random.default_rng(0), sources=["foreign"], shapes=["cube"], edges=(low, high)
    )
    edges = [each for each, length in zip(cube.stretch, shape, strict=True) if length > 1]
    assert len(set(edges)) == 1


def test_tissue_from_elsewhere_is_moved_and_enlarged():
    scan, other = _scan(1), _scan(2)
    planted, _ = plant(scan, _box(source="foreign-shifted", offset=(0, 3, -2)), other)
    box = (slice(None), 0, slice(15, 26), slice(17, 24))
    np.testing.assert_allclose(planted.data[box], other.data[:, 0, 12:23, 19:26], rtol=1e-6)
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32) + 1, (2, 1, 40, 40))
    giver = other.with_(data=np.where(other.mask, ramp, 0))
    planted, _ = plant(scan, _box(source="foreign-shifted", scale=2.0), giver)
    np.testing.assert_allclose(planted.data[:, 0, 20, 17:24], [21 + np.arange(-3, 4) / 2] * 2, rtol=1e-6)
    brighter, _ = plant(scan, _box(source="patch", offset=(0, 3, -2), gain=1.1), None)
    np.testing.assert_allclose(brighter.data[box], 1.1 * scan.data[:, 0, 12:23, 19:26], rtol=1e-5)


@pytest.mark.parametrize("stronger", [False, True])
def test_poisson_blending_keeps_the_border_and_interpolates_gradients(stronger):
    rng = np.random.default_rng(0)
    target, foreign = (rng.uniform(0, 1, (1, 20, 20)).astype(np.float32) for _ in range(2))
    region = np.zeros(target.shape, dtype=bool)
    region[0, 5:12, 6:14] = True
    alpha = 0.4
    found = poisson_blend(target, foreign, region, factor=alpha, stronger=stronger)
    np.testing.assert_array_equal(found[~region], target[~region])
    for h, w in np.argwhere(region[0]):  # Σ (u_p − u_q) = Σ v_pq over the four neighbours
        around = [(h + 1, w), (h - 1, w), (h, w + 1), (h, w - 1)]
        own = (1 - alpha) * np.array([target[0, h, w] - target[0][q] for q in around])
        other = alpha * np.array([foreign[0, h, w] - foreign[0][q] for q in around])
        guide = np.where(abs(own) > abs(other), own, other) if stronger else own + other
        assert sum(found[0, h, w] - found[0][q] for q in around) == pytest.approx(guide.sum(), abs=1e-5)
    # a foreign image that differs by a constant leaves none of itself behind
    same = poisson_blend(target, target + 3, region, factor=0.5)
    np.testing.assert_allclose(same, target, atol=1e-5)


def test_poisson_patches_stay_in_the_range_of_the_scan_in_3d():
    scan, other = _scan(1, (12, 16, 16), channels=1), _scan(2, (12, 16, 16), channels=1)
    for blend in ("poisson", "mixed"):
        planted, label = plant(scan, _box(centre=(6, 8, 8), radius_mm=6.0, blend=blend, factor=0.9), other)
        assert label.max() == np.float32(0.9)
        assert planted.data.max() <= scan.data.max()
        assert planted.data.min() >= scan.data.min()
        assert (planted.data != scan.data).any()


def test_the_label_of_intensity_is_a_logistic_function_of_the_change():
    values = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    low, high = np.percentile(values, [1, 99.5])
    change = np.zeros((1, 1, 9, 30), dtype=np.float32)
    change[..., 10:20] = HALF * (high - low)
    change[..., 20:] = -(high - low)
    found = saturated(change, values)
    assert (found[0, :, :9] == 0).all()
    np.testing.assert_allclose(found[0, 4, 12:18], 0.5, atol=1e-4)
    np.testing.assert_allclose(found[0, 4, 22:], 1 / (1 + np.exp(-STEEPNESS * (1 - HALF))), atol=1e-4)


def test_foreign_tissue_needs_another_scan():
    with pytest.raises(ConfigError, match="another scan"):
        plant(_scan(1), _box())
    with pytest.raises(ConfigError, match="mixed blending"):
        _box(source="hyper", blend="mixed")
