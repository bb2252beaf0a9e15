from __future__ import annotations

import json

import numpy as np
import pytest
from challenge_scans import MM, files, scan
from scipy.ndimage import binary_erosion, gaussian_filter

from aberra.errors import ConfigError
from aberra.mood import Anomaly, apply, difficulty, draw, taxonomy
from aberra.mood.anomaly import MARGIN
from aberra.mood.apply import LEAST
from aberra.mood.slabs import SLABS
from aberra.mood.warps import WARPS, bump

NAMES = list(taxonomy())
LOCAL = [name for name in NAMES if taxonomy()[name].operation not in {*SLABS, "disease"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scan and one anomaly of each subclass, drawn until it can be seen, and what it made."""
    folder = tmp_path_factory.mktemp("mood")
    healthy = scan(folder)
    given = files(folder)
    found = {}
    for name, subclass in taxonomy().items():
        for seed in range(5):
            anomaly = draw(subclass, healthy, np.random.default_rng(seed), **given)
            found[name] = anomaly, apply(healthy, anomaly)
            if found[name][1].contrast > 0.02:
                break
    return healthy, found


@pytest.mark.parametrize("name", NAMES)
def test_the_scan_changes_inside_the_mask_and_nowhere_else(made, name):
    healthy, found = made
    after = found[name][1].volume
    assert after.data.dtype == np.float32
    assert 0 <= after.data.min() <= after.data.max() <= 1
    changed = after.data[0] != healthy.data
    assert after.lesion.any()
    assert not (changed & ~after.lesion).any()
    assert not (after.lesion & ~healthy.inside).any() or taxonomy()[name].operation in SLABS
    assert changed[after.lesion].mean() > 0.9
    assert found[name][1].contrast > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_record_gives_the_same_bytes_again(made, name):
    healthy, found = made
    anomaly, first = found[name]
    again = apply(healthy, Anomaly.from_json(json.loads(json.dumps(anomaly.to_json()))))
    assert again.volume.data.tobytes() == first.volume.data.tobytes()
    assert np.array_equal(again.volume.lesion, first.volume.lesion)


@pytest.mark.parametrize("name", LOCAL)
def test_centres_lie_a_radius_below_the_rim(made, name):
    healthy, _ = made
    subclass = taxonomy()[name]
    for seed in range(3):
        anomaly = draw(subclass, healthy, np.random.default_rng(seed), images=["a"], masks=["b"])
        assert healthy.depth[anomaly.centre] >= anomaly.radius_mm
        assert anomaly.radius_mm <= subclass.radius_mm[1]


def test_a_radius_that_does_not_fit_is_the_largest_that_does(made):
    healthy, _ = made
    huge = taxonomy()["sphere"].__class__(**{**vars(taxonomy()["sphere"]), "radius_mm": (400.0, 500.0)})
    anomaly = draw(huge, healthy, np.random.default_rng(0))
    assert anomaly.radius_mm == pytest.approx(healthy.depth.max(), abs=0.001)


def test_a_sphere_is_the_ball_with_its_soft_edge(made):
    healthy, _ = made
    anomaly = Anomaly(subclass="sphere", centre=(20, 21, 22), radius_mm=12.0, amount=0.75)
    after = apply(healthy, anomaly).volume
    away = np.sqrt((healthy.offsets((20, 21, 22)) ** 2).sum(axis=0))
    edge = 0.5 * np.log(1 / LEAST - 1)
    assert np.array_equal(after.lesion, away <= 12 + edge)
    assert np.allclose(after.data[0][away < 12 - 6], 0.75)


def test_a_difference_from_the_mean_is_kept(made):
    healthy, _ = made
    low, high = taxonomy()["polyhedron"].amount
    for seed in range(10):
        anomaly = draw(taxonomy()["polyhedron"], healthy, np.random.default_rng(seed))
        near = (healthy.offsets(anomaly.centre) ** 2).sum(axis=0) <= anomaly.radius_mm**2
        mean = healthy.data[near & healthy.inside].mean()
        assert 0 <= anomaly.amount <= 1
        assert low - 1e-3 <= abs(anomaly.amount - mean) <= high + 1e-3


def _at_centre(name, **drawn):
    return Anomaly(
        **({"subclass": name, "centre": (22, 22, 22), "radius_mm": 24.0, "amount": 1.0, "seed": 3} | drawn)
    )


def test_shuffled_voxels_are_the_same_ones(made):
    healthy, _ = made
    after = apply(healthy, _at_centre("shuffle")).volume
    inner = binary_erosion(after.lesion, iterations=2)  # where the weight is one
    ours = np.unique(healthy.data[after.lesion])
    nearest = ours[np.clip(np.searchsorted(ours, after.data[0][inner]), 1, len(ours) - 1)]
    assert np.abs(nearest - after.data[0][inner]).max() < 0.01
    assert after.data[0][after.lesion].mean() == pytest.approx(healthy.data[after.lesion].mean(), abs=0.03)
    assert abs(np.corrcoef(after.data[0][inner], healthy.data[inner])[0, 1]) < 0.1


def test_inversion_turns_bright_to_dark(made):
    healthy, _ = made
    after = apply(healthy, _at_centre("inversion")).volume
    inner = binary_erosion(after.lesion, iterations=2)
    assert np.corrcoef(after.data[0][inner], healthy.data[inner])[0, 1] < -0.95


def test_blur_takes_details_out_and_sharpening_stresses_them(made):
    healthy, _ = made

    inner = binary_erosion(apply(healthy, _at_centre("blur", amount=6.0)).volume.lesion, iterations=3)

    def details(data):
        return (data - gaussian_filter(data, 1.0))[inner].std()

    def roughness(name, amount):
        return details(apply(healthy, _at_centre(name, amount=amount)).volume.data[0])

    plain = details(healthy.data)
    assert roughness("blur", 6.0) < 0.8 * plain
    assert roughness("coarse", 9.0) < 0.8 * plain
    assert roughness("streak", 20.0) < 0.8 * plain
    assert roughness("sharpen", 2.0) > 1.2 * plain


@pytest.mark.parametrize("name", list(WARPS))
@pytest.mark.parametrize("end", [0, 1])
def test_deformations_fold_nothing(made, name, end):
    """The map from a voxel to where its tissue comes from has a positive Jacobian."""
    healthy, _ = made
    axes = [np.arange(44, dtype=np.float32)] * 3
    subclass = taxonomy()[name]
    anomaly = _at_centre(name, amount=subclass.amount[end], direction=(0.0, 0.6, 0.8))
    away = healthy.offsets(anomaly.centre)
    weight = bump(healthy, anomaly)
    direction = np.array(anomaly.direction, np.float32)[:, None]
    source = WARPS[name](away.reshape(3, -1), weight.ravel(), anomaly, direction).reshape(away.shape)
    gradient = np.stack([np.stack(np.gradient(part, *axes)) for part in source]) / MM
    jacobian = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))
    assert jacobian.min() > 0
    assert np.allclose(source[:, weight == 0], away[:, weight == 0], atol=1e-4)


def test_a_sink_draws_tissue_in_and_a_source_pushes_it_out(made):
    """The bright ball of white matter around the dark middle shrinks or grows."""
    healthy, _ = made
    dark = [
        (
            apply(healthy, _at_centre(name, amount=amount, radius_mm=30.0)).volume.data[0][
                16:29, 16:29, 16:29
            ]
            < 0.4
        ).sum()
        for name, amount in (("sink", 1.0), ("source", 0.8))
    ]
    plain = (healthy.data[16:29, 16:29, 16:29] < 0.4).sum()
    assert dark[0] < 0.7 * plain
    assert dark[1] > 1.3 * plain


def test_slabs_are_empty_repeated_exchanged_or_moved(made):
    healthy, _ = made
    slab = (1, 14, 4, 24)  # axis, start, count, start of the other
    here, there = (slice(None), slice(14, 18)), (slice(None), slice(24, 28))

    def after(name, amount=1.0):
        return apply(healthy, _at_centre(name, slab=slab, amount=amount)).volume.data[0]

    assert not after("missing")[here].any()
    assert np.array_equal(after("repeated")[here], np.repeat(healthy.data[:, 13:14], 4, axis=1))
    assert np.array_equal(after("swapped")[here], healthy.data[there])
    assert np.array_equal(after("swapped")[there], healthy.data[here])
    moved = after("slab", -0.2)[here] - healthy.data[here]
    inside = healthy.inside[here] & (healthy.data[here] > 0.2)
    mask = apply(healthy, _at_centre("slab", slab=slab, amount=0.5)).volume.lesion
    assert np.array_equal(mask[here], healthy.inside[here])  # also where it is as bright as can be
    assert mask.sum() == mask[here].sum()
    assert np.allclose(moved[inside], -0.2, atol=1e-6)


@pytest.mark.parametrize("name", list(SLABS))
def test_slabs_lie_in_the_foreground_and_do_not_overlap(made, name):
    healthy, _ = made
    subclass = next(each for each in taxonomy().values() if each.operation == name)
    for seed in range(20):
        axis, start, count, other = draw(subclass, healthy, np.random.default_rng(seed)).slab
        lines = np.flatnonzero(healthy.inside.any(axis=tuple({0, 1, 2} - {axis})))
        room = int(MARGIN * len(lines))
        assert lines[0] + room <= min(start, other)
        assert max(start, other) + count <= lines[-1] + 1 - room
        assert abs(start - other) >= count >= 1


def test_a_picture_is_seen_as_it_is_in_the_axial_plane(made, tmp_path):
    healthy, found = made
    file = found["embedded"][0].file
    anomaly = _at_centre("embedded", file=file, radius_mm=24.0)
    after = apply(healthy, anomaly).volume.data[0]
    # axes run to right, anterior, superior: the picture's bright corner is up left, where radiologists
    # have anterior and the patient's right
    assert after[25:29, 25:29, 22].mean() > 0.95
    assert after[15:19, 25:29, 22].mean() < 0.5
    assert after[25:29, 15:19, 22].mean() < 0.5
    assert np.allclose(after[16:29, 16:29, 20], after[16:29, 16:29, 24], atol=1e-5)


def test_difficulty_falls_with_size_and_contrast():
    assert difficulty(0, 0.5) == difficulty(20, 0) == 1
    sizes = [difficulty(size, 0.1) for size in (1, 5, 20, 60)]
    contrasts = [difficulty(10, contrast) for contrast in (0.01, 0.1, 0.5)]
    assert sizes == sorted(sizes, reverse=True)
    assert contrasts == sorted(contrasts, reverse=True)
    assert difficulty(10, 0.1) == pytest.approx(1 - (1 - np.exp(-1)) ** 2)


def test_size_and_contrast_are_measured(made):
    healthy, _ = made
    found = apply(healthy, Anomaly(subclass="sphere", centre=(22, 22, 22), radius_mm=21.0, amount=0.0))
    # a ball to where the weight falls below the least
    assert found.size_mm == pytest.approx(22.1, abs=0.6)
    change = np.abs(found.volume.data[0] - healthy.data)
    assert found.contrast == pytest.approx(change.sum() / found.volume.lesion.sum(), rel=1e-4)
    assert found.difficulty == difficulty(found.size_mm, found.contrast)


def test_an_unknown_subclass_is_an_error(made):
    with pytest.raises(ConfigError, match="unknown subclass"):
        apply(made[0], _at_centre("gorilla"))
