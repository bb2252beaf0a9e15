from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from aberra.detector.postprocess import PostProcess
from aberra.metrics.objects import last_threshold, match
from aberra.volume import Volume

SHAPE = (48, 48, 48)
GRID = Volume(
    data=np.zeros((1, *SHAPE)), affine=np.array([[0, 0, 2, -9], [0, 1, 0, 5], [1, 0, 0, 3], [0, 0, 0, 1.0]])
)
"""Voxels of 2 mm³ whose axes are turned."""


def _ball(centre, radius):
    steps = np.indices(SHAPE) - np.reshape(centre, (3, 1, 1, 1))
    return (steps**2).sum(axis=0) <= radius**2


def _match(found, truth):
    mask, objects = PostProcess(min_mm3=0).segment(found.astype(np.float32), GRID, 0.5)
    return match(objects, mask, truth, GRID)


@pytest.mark.parametrize(
    ("centre", "radius", "hit", "inside"),
    [
        ((20, 20, 20), 8, True, True),
        ((20, 20, 20), 8 * 1.9 ** (1 / 3), True, True),  # not quite twice the volume
        ((20, 20, 20), 8 * 2.2 ** (1 / 3), False, True),
        ((20, 20, 20), 8 / 1.9 ** (1 / 3), True, True),
        ((20, 20, 20), 8 / 2.2 ** (1 / 3), False, True),
        ((20, 20, 27), 8, True, True),  # off, but the centre is inside
        ((20, 20, 30), 8, False, False),  # touches only
    ],
)
def test_a_hit_has_its_centre_in_the_lesion_and_its_volume_within_a_factor_of_two(
    centre, radius, hit, inside
):
    (found,), (lesion,) = _match(_ball(centre, radius), _ball((20, 20, 20), 8))
    assert (found.hit, found.lesion > 0, found.touches) == (hit, inside, True)
    assert (lesion.hit, lesion.touched) == (hit, True)


def test_objects_and_lesions_that_have_nothing_to_do_with_each_other():
    (found,), (lesion,) = _match(_ball((10, 10, 10), 4), _ball((35, 35, 35), 4))
    assert (found.hit, found.touches, found.lesion, found.lesion_mm3) == (False, False, 0, None)
    assert (lesion.hit, lesion.touched) == (False, False)


def test_each_lesion_is_held_against_its_own_object():
    left, right = _ball((12, 12, 12), 5), _ball((34, 34, 34), 5)
    matches, lesions = _match(left | _ball((34, 34, 34), 9), left | right)
    assert [each.hit for each in lesions] == [True, False]
    assert sorted((each.lesion, each.hit) for each in matches) == [(1, True), (2, False)]
    assert all(each.touched for each in lesions)


def test_centres_and_volumes_of_lesions_are_those_of_the_scan():
    _, (lesion,) = _match(np.zeros(SHAPE, bool), _ball((10, 20, 30), 3))
    assert lesion.centre_mm == (2 * 30 - 9, 20 + 5, 10 + 3)
    assert lesion.volume_mm3 == 2 * _ball((10, 20, 30), 3).sum()


def test_without_lesions_every_object_is_false():
    (found,), lesions = _match(_ball((10, 10, 10), 4), np.zeros(SHAPE, bool))
    assert (lesions, found.hit, found.touches) == ([], False, False)


@pytest.mark.parametrize("voxels", [1, 5, 40])
def test_the_last_threshold_is_where_the_last_region_goes(voxels):
    values = np.random.default_rng(voxels).random((6, 7, 8)).astype(np.float32).round(2)

    def largest(threshold):
        labels, _ = label(values > threshold, structure=np.ones((3, 3, 3)))
        return np.bincount(labels.ravel())[1:].max(initial=0)

    limit = last_threshold(values, voxels)
    assert largest(limit) < voxels <= largest(np.nextafter(np.float32(limit), np.float32(0)))


def test_a_map_that_never_has_a_region_has_no_threshold():
    assert last_threshold(np.zeros((4, 4, 4), np.float32), 2) == 0
    assert last_threshold(np.eye(4, dtype=np.float32)[None], 5) == 0
