from __future__ import annotations

import numpy as np
import pytest

from aberra.errors import ConfigError
from aberra.postprocess import CaseScore, PostProcess
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
        PostProcess().clean(values, np.ones(values.shape, bool), (1.0, 1.0, 1.0)),
        median_filter(values, 5, mode="nearest"),
    )
    thick = PostProcess().clean(values, np.ones(values.shape, bool), (5.0, 1.0, 1.0))
    np.testing.assert_array_equal(thick, median_filter(values, (1, 5, 5), mode="nearest"))


def test_only_the_judged_region_is_filtered_and_nothing_else_changes():
    from scipy.ndimage import median_filter

    values = np.random.default_rng(0).random((30, 30, 30)).astype(np.float32)
    inside = np.zeros(values.shape, bool)
    inside[8:20, 9:22, 3:25] = True
    found = PostProcess().clean(values, inside, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(found[inside], median_filter(values, 5)[inside])
    assert (found[~inside] == 0).all()


def test_erosion_is_in_mm_and_never_takes_everything():
    mask = np.zeros((20, 20, 20), bool)
    mask[5:15, 5:15, 5:15] = True
    assert PostProcess(erode_mm=2.5).inside(_grid(mask=mask)).sum() == 6**3
    assert PostProcess(erode_mm=2.5).inside(_grid(spacing=(2.0, 2.0, 2.0), mask=mask)).sum() == 8**3
    np.testing.assert_array_equal(PostProcess(erode_mm=50).inside(_grid(mask=mask)), mask)


def test_regions_are_measured_in_mm_and_small_ones_dropped():
    values = np.zeros((20, 20, 20), np.float32)
    values[2:5, 2:5, 2:5] = 2
    values[10:12, 10:12, 10:12] = 1
    values[18, 18, 18] = 9
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [100, 0, 0]
    mask, found = PostProcess(min_voxels=8).segment(
        values, Volume(data=np.zeros((1, 20, 20, 20)), affine=affine), 0.5
    )
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
    assert len(PostProcess(min_voxels=2).segment(values, _grid((6, 6, 6)), 0.5)[1]) == 1


def test_case_scores():
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    inside = np.ones((10, 10, 10), bool)
    assert CaseScore(reduce="mean")(values, inside) == 499.5
    assert CaseScore(reduce="max")(values, inside) == 999
    assert CaseScore(fraction=0.01)(values, inside) == np.arange(990, 1000).mean()
    assert CaseScore(reduce="percentile", fraction=0.5)(values, inside) == 499.5
    assert CaseScore()(values, np.zeros_like(inside)) == 0


@pytest.mark.parametrize("options", [{"median": 4}, {"erode_mm": -1}])
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
