from __future__ import annotations

import numpy as np
import pytest
from cohort_scans import ball

from aberra.cohort.departures import compare, departures
from aberra.cohort.fingerprint import measure, of_volume, summarise
from aberra.volume import Volume


def volume(data, spacing=(1.0, 1.0, 1.0), **options):
    return Volume(data=data[None], affine=np.diag([*spacing, 1.0]), **options)


@pytest.fixture(scope="module")
def model():
    return summarise([measure(volume(ball(seed))) for seed in range(4)])


def topics(found):
    return {each.topic for each in found}


def test_a_scan_like_the_rest_departs_nowhere(model):
    assert compare(volume(ball(9, gain=3)), model) == []


@pytest.mark.parametrize(
    ("scan", "topic"),
    [
        (volume(ball(9), (1, 1, 4)), "spacing"),
        (volume(ball(9)[:, :, 8:14]), "coverage"),
        (volume(ball(9, noise=2, skull=True)), "skull"),
        (volume(np.where(ball(9) > 0, 165 - ball(9), 0).astype(np.float32)), "contrast"),
        (volume(ball(9) * 10 - 1000), "scale"),
        (volume(ball(9)[:1]), "dimensions"),
        (Volume(data=np.stack([ball(9)] * 2), affine=np.eye(4), channels=("t1", "t2")), "channels"),
    ],
)
def test_each_departure_is_named_with_a_remedy(scan, topic, model):
    found = departures(of_volume(scan), model)
    assert topic in topics(found)
    assert all(each.remedy for each in found)
    assert len(compare(scan, model)) == len(found)


def test_given_mask_quiets_the_skull(model):
    data = ball(9, noise=2, skull=True)
    assert "skull" not in topics(departures(of_volume(volume(data, mask=ball(9) > 0)), model))


def test_stripped_scan_for_a_model_of_whole_heads():
    whole = of_volume(volume(ball(0, noise=2, skull=True)))
    assert "skull" in topics(departures(of_volume(volume(ball(1))), whole))


def test_a_model_of_random_contrast_accepts_any():
    rng = np.random.default_rng(0)
    levels = rng.uniform(20, 160, (12, 2))
    scans = []
    for grey, white in levels:
        data = ball(0)
        scans.append(np.select([data > 80, data > 0], [white, grey], 0).astype(np.float32))
    anything = summarise([measure(volume(data)) for data in scans])
    inverted = np.where(ball(9) > 0, 165 - ball(9), 0).astype(np.float32)
    assert "contrast" not in topics(departures(of_volume(volume(inverted)), anything))


def test_images_are_compared_by_pixels():
    rng = np.random.default_rng(0)
    small, large = (of_volume(volume(rng.random((1, n, n), dtype=np.float32))) for n in (64, 256))
    assert topics(departures(large, small)) == {"size"}
