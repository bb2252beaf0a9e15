from __future__ import annotations

import numpy as np
import pytest

from aberra.detector.postprocess import CaseScore, PostProcess
from aberra.errors import ConfigError
from aberra.volume import Volume


def _grid(shape=(20, 20, 20), spacing=(1.0, 1.0, 1.0), mask=None):
    return Volume(data=np.zeros((1, *shape)), affine=np.diag([*spacing, 1.0]), mask=mask)


def test_median_removes_specks_and_keeps_blobs():
    values = np.zeros((20, 20, 20), np.float32)
    values[3, 3, 3] = 1
    values[8:16, 8:16, 8:16] = 1
    cleaned = PostProcess().clean(values, np.ones(values.shape, bool), (1.0, 1.0, 1.0))
    assert cleaned[3, 3, 3] == 0
    assert cleaned[12, 12, 12] == 1


def test_median_is_the_same_by_slab_and_stays_in_thick_slices():
    from scipy.ndimage import median_filter

    values = np.random.default_rng(0).random((70, 9, 9)).astype(np.float32)
    np.testing.assert_array_equal(
        PostProcess(median_mm=5).clean(values, np.ones(values.shape, bool), (1.0, 1.0, 1.0)),
        median_filter(values, 5, mode="nearest"),
    )
    thick = PostProcess().clean(values, np.ones(values.shape, bool), (5.0, 1.0, 1.0))
    np.testing.assert_array_equal(thick, median_filter(values, (1, 3, 3), mode="nearest"))


@pytest.mark.parametrize(
    ("median_mm", "spacing", "edges"),
    [
        (3, (1.0, 1.0, 1.0), [3, 3, 3]),
        (3, (2.0, 1.5, 0.5), [1, 1, 5]),  # 1.5 and 4.5 are as far from 3: the smaller
        (3, (5.0, 0.43, 0.43), [1, 7, 7]),
        (8, (1.6036, 1.6036, 1.6036), [5, 5, 5]),
        (2, (1.0, 1.0, 1.0), [1, 1, 1]),
        (0, (0.5, 0.5, 0.5), [1, 1, 1]),
    ],
)
def test_the_median_is_the_odd_number_of_voxels_nearest_to_its_millimetres(median_mm, spacing, edges):
    processing = PostProcess(median_mm=median_mm)
    assert processing.edges((20, 20, 20), spacing) == edges
    assert processing.edges((1, 20, 20), spacing) == [1, *edges[1:]]


def _world(spacing):
    """A brain of 40 mm radius with lesions of 1 to 9 mm radius, as a map with partial volume and a
    mask on a grid.
    """
    edge = int(96 / spacing)
    centres = (np.indices((edge,) * 3) + 0.5) * spacing - 48
    fine = np.zeros((edge,) * 3)
    for place, radius in (
        ((0, 2, 0), 9),
        ((24, 0, 4), 7),
        ((-22, 6, -3), 6),
        ((0, -26, 8), 6),
        ((3, 3, 30), 1),
    ):
        away = np.sqrt(((centres - np.reshape(place, (3, 1, 1, 1))) ** 2).sum(axis=0))
        fine = np.maximum(fine, np.clip((radius - away) / spacing + 0.5, 0, 1))
    mask = np.sqrt((centres**2).sum(axis=0)) < 40
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = spacing / 2 - 48
    return fine.astype(np.float32), Volume(data=np.zeros((1, edge, edge, edge)), affine=affine, mask=mask)


@pytest.mark.parametrize("median_mm", [0, 3, 4])
@pytest.mark.parametrize("spacing", [1.5, 2.0])
def test_the_result_does_not_depend_on_the_grid(spacing, median_mm):
    found = []
    for step in (1.0, spacing):
        values, grid = _world(step)
        processing = PostProcess(median_mm=median_mm, min_mm3=60)
        inside = processing.inside(grid)
        mask, components = processing.segment(processing.clean(values, inside, grid.spacing), grid, 0.5)
        found.append((inside.sum() * step**3, mask.sum() * step**3, components))
    fine, coarse = found
    assert coarse[0] == pytest.approx(fine[0], rel=0.05)
    assert coarse[1] == pytest.approx(fine[1], rel=0.15)
    assert len(coarse[2]) == len(fine[2]) == 4
    for ours, theirs in zip(coarse[2][:2], fine[2][:2], strict=True):
        np.testing.assert_allclose(ours.centre_mm, theirs.centre_mm, atol=0.5)
        assert ours.volume_mm3 == pytest.approx(theirs.volume_mm3, rel=0.2)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5), (0.5, 0.5, 0.5)])
def test_the_smallest_region_is_a_volume(spacing):
    step = np.array(spacing)
    for volume, kept in ((7.9, 0), (8.1, 1)):
        values = np.zeros((40, 40, 40), np.float32)
        values.reshape(-1)[: round(volume / step.prod())] = 1
        expected = kept if round(volume / step.prod()) * step.prod() != 8 else 1
        assert len(PostProcess().segment(values, _grid((40, 40, 40), spacing), 0.5)[1]) == expected


def test_only_the_judged_region_is_filtered_and_nothing_else_changes():
    from scipy.ndimage import median_filter

    values = np.random.default_rng(0).random((30, 30, 30)).astype(np.float32)
    inside = np.zeros(values.shape, bool)
    inside[8:20, 9:22, 3:25] = True
    for edge in (3, 5):
        found = PostProcess(median_mm=edge).clean(values, inside, (1.0, 1.0, 1.0))
        np.testing.assert_array_equal(found[inside], median_filter(values, edge)[inside])
    assert (found[~inside] == 0).all()


def test_erosion_is_in_mm_and_never_takes_everything():
    mask = np.zeros((20, 20, 20), bool)
    mask[5:15, 5:15, 5:15] = True
    assert PostProcess(erode_mm=2.5).inside(_grid(mask=mask)).sum() == 6**3
    assert PostProcess(erode_mm=2.5).inside(_grid(spacing=(2.0, 2.0, 2.0), mask=mask)).sum() == 8**3
    np.testing.assert_array_equal(PostProcess(erode_mm=50).inside(_grid(mask=mask)), mask)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_depth_weighs_by_the_distance_to_the_masks_edge_in_mm(spacing):
    mask = np.zeros((40, 40, 40), bool)
    mask[5:35, 5:35, 5:35] = True
    values = np.full(mask.shape, 2, np.float32)
    grid = _grid(mask.shape, spacing, mask)
    weighed = PostProcess(depth_mm=10).weigh(values, grid)
    assert weighed[20, 20, 20] == 2
    assert weighed[20, 20, 7] == pytest.approx(2 * 3 / 10)
    assert weighed[6, 20, 20] == pytest.approx(2 * 2 * spacing[0] / 10)
    assert (weighed[~mask] == 0).all()
    np.testing.assert_array_equal(PostProcess().weigh(values, grid), values)
    np.testing.assert_array_equal(PostProcess(depth_mm=10).weigh(values, _grid(mask.shape)), values)


def test_a_speck_in_the_mask_has_no_rim_and_a_hole_has():
    mask = np.zeros((60, 60, 60), bool)
    mask[5:55, 5:55, 5:55] = True
    whole = PostProcess().inside(_grid(mask.shape, mask=mask))
    mask[30, 30, 30] = False
    speck = PostProcess().inside(_grid(mask.shape, mask=mask))
    np.testing.assert_array_equal(speck, whole & mask)
    mask[25:36, 25:36, 25:36] = False
    hole = PostProcess().inside(_grid(mask.shape, mask=mask))
    assert not hole[30, 30, 23:25].any()
    assert hole[30, 30, 22]


def test_regions_are_measured_in_mm_and_small_ones_dropped():
    values = np.zeros((20, 20, 20), np.float32)
    values[2:5, 2:5, 2:5] = 2
    values[10:12, 10:12, 10:12] = 1
    values[18, 18, 18] = 9
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [100, 0, 0]
    mask, found = PostProcess().segment(values, Volume(data=np.zeros((1, 20, 20, 20)), affine=affine), 0.5)
    assert [each.voxels for each in found] == [27, 8]
    assert found[0].volume_mm3 == 54
    assert found[0].centre_mm == (106.0, 3.0, 3.0)
    assert found[0].centre_index == (3, 3, 3)
    assert mask.sum() == 35
    _, large = PostProcess(min_mm3=20).segment(
        values, Volume(data=np.zeros((1, 20, 20, 20)), affine=affine), 0.5
    )
    assert len(large) == 1


def test_voxels_that_touch_by_a_corner_are_one_region():
    values = np.zeros((6, 6, 6), np.float32)
    values[1, 1, 1] = values[2, 2, 2] = 1
    assert len(PostProcess(min_mm3=2).segment(values, _grid((6, 6, 6)), 0.5)[1]) == 1


def test_case_scores():
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    inside = np.ones((10, 10, 10), bool)
    assert CaseScore(reduce="mean")(values, inside) == 499.5
    assert CaseScore(reduce="max")(values, inside) == 999
    norm = np.linalg.norm(values.astype(float))
    assert CaseScore(reduce="rms")(values, inside) == pytest.approx(norm / 1000**0.5)
    assert CaseScore(fraction=0.01)(values, inside) == np.arange(990, 1000).mean()
    assert CaseScore(reduce="percentile", fraction=0.5)(values, inside) == 499.5
    assert CaseScore()(values, np.zeros_like(inside)) == 0


@pytest.mark.parametrize(
    "options",
    [{"median_mm": -3}, {"median_mm": float("nan")}, {"erode_mm": -1}, {"min_mm3": -8}, {"depth_mm": -1}],
)
def test_bad_options(options):
    with pytest.raises(ConfigError):
        PostProcess(**options)
    with pytest.raises(ConfigError, match="Did you mean 'mean'"):
        CaseScore(reduce="meen")


@pytest.mark.slow
def test_a_512_volume_stays_under_four_gib():
    import tracemalloc

    values = np.zeros((512, 512, 512), np.float32)
    values[100:200, 100:200, 100:200] = 1
    grid = _grid((512, 512, 512))
    tracemalloc.start()
    processing = PostProcess(erode_mm=0)
    processing.segment(processing.clean(values, np.ones(values.shape, bool), grid.spacing), grid, 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak + values.nbytes + grid.data.nbytes < 4 * 2**30


def test_the_bright_prior_keeps_only_what_is_bright_in_a_channel():
    values = np.ones((1, 10, 10), np.float32)
    ramp = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    mask = np.ones((1, 10, 10), bool)
    mask[0, 0] = False  # the ten darkest are air and do not move the quantile
    one = Volume(data=ramp[None], affine=np.eye(4), mask=mask)
    kept = PostProcess(bright=0.9).limit(values, one)
    assert set(ramp[kept > 0]) == set(range(91, 100))
    both = Volume(data=np.stack([ramp, -ramp]), affine=np.eye(4), channels=("a", "b"), mask=mask)
    kept = PostProcess(bright=0.9).limit(values, both)[0, 1:]
    assert set(ramp[0, 1:][kept > 0]) == {*range(10, 19), *range(91, 100)}
    assert PostProcess().limit(values, one) is values
    with pytest.raises(ConfigError, match="bright"):
        PostProcess(bright=1.0)


def test_the_bilateral_filter_smooths_noise_and_keeps_an_edge():
    rng = np.random.default_rng(0)
    values = np.zeros((9, 16, 16), np.float32)
    values[:, :, 8:] = 1
    noisy = values + np.abs(0.05 * rng.standard_normal(values.shape)).astype(np.float32)
    inside = np.ones(values.shape, bool)
    way = PostProcess(bilateral_mm=2.0, median_mm=0)
    cleaned = way.clean(noisy, inside, (1.0, 1.0, 1.0))
    assert cleaned[:, :, :7].std() < 0.5 * noisy[:, :, :7].std()
    assert cleaned[:, :, 8].mean() - cleaned[:, :, 7].mean() > 0.7
    flat = np.ones_like(values)
    np.testing.assert_array_equal(way.clean(flat, inside, (1.0, 1.0, 1.0)), flat)  # no spread, no filter
    np.testing.assert_array_equal(PostProcess(median_mm=0).clean(noisy, inside, (1.0, 1.0, 1.0)), noisy)
    assert way.clean(noisy[:1], inside[:1], (1.0, 1.0, 1.0)).shape == (1, 16, 16)
