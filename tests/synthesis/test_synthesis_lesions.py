from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aberra.errors import ConfigError, InputError
from aberra.synthesis import draw_channels, draw_lesion, draw_phantom, plant, render
from aberra.synthesis.lesions import DISPLACES
from aberra.synthesis.parameters import LABELS, SOURCES
from aberra.synthesis.poisson import poisson_blend
from aberra.volume import Volume


@pytest.fixture(scope="module")
def scan():
    return render(draw_phantom(2, 0), 3.0)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", ["ellipsoid", "blob", "tube"])
def test_every_source_and_shape_plants_a_repeatable_lesion_inside_the_brain(source, shape, scan):
    drawn = draw_lesion(scan, np.random.default_rng(1), sources=[source], shapes=[shape], radius_mm=(8, 12))
    planted, label = plant(scan, drawn)
    again, _ = plant(scan, drawn)
    assert planted.data.tobytes() == again.data.tobytes()
    assert planted.lesion.any()
    assert not (planted.lesion & ~scan.mask).any()
    assert label.shape == scan.shape
    changed = planted.data[0] != scan.data[0]
    assert changed.any()
    if source not in DISPLACES:
        assert (changed & ~planted.lesion).sum() < 3 * planted.lesion.sum()


def test_bright_is_brighter_and_dark_is_darker(scan):
    for source, sign in (("hyper", 1), ("hypo", -1)):
        drawn = draw_lesion(
            scan, np.random.default_rng(3), sources=[source], shapes=["ellipsoid"], radius_mm=(8, 10)
        )
        planted, _ = plant(scan, drawn)
        assert sign * (planted.data[0] - scan.data[0])[planted.lesion].mean() > 0


def test_a_tumour_is_dark_in_t1_bright_elsewhere_and_moves_all_channels_alike():
    scan = render(draw_channels(2, 0, "t1,t1ce,t2,flair"), 3.0)
    drawn = draw_lesion(
        scan, np.random.default_rng(5), sources=["tumour"], shapes=["ellipsoid"], radius_mm=(12, 14)
    )
    planted, moved = plant(scan, replace(drawn, label="displacement"))
    pushed, _ = plant(scan, replace(drawn, source="ventricle"))  # the same displacement, nothing filled in
    signs = [np.sign((planted.data[i] - pushed.data[i])[planted.lesion].mean()) for i in range(4)]
    assert signs == [-1, 1, 1, 1]
    around = (moved >= 1) & ~planted.lesion & (planted.data == pushed.data).all(axis=0)
    assert around.sum() > planted.lesion.sum()
    for index in range(4):
        single = scan.with_(data=scan.data[index : index + 1], channels=scan.channels[index : index + 1])
        np.testing.assert_array_equal(plant(single, drawn)[0].data[0], planted.data[index])


def test_truth_of_a_tumour_is_the_tumour_and_follows_when_another_pushes_it(scan):
    drawn = draw_lesion(
        scan, np.random.default_rng(5), sources=["tumour"], shapes=["ellipsoid"], radius_mm=(12, 14)
    )
    planted, soft = plant(scan, replace(drawn, label="soft"))
    np.testing.assert_array_equal(planted.lesion, soft >= 0.5)
    assert planted.lesion.sum() < plant(scan, replace(drawn, source="mass"))[0].lesion.sum()
    reference = np.where(planted.lesion, 100.0, 1.0)[None].astype(np.float32)
    beside = replace(drawn, centre=tuple(np.add(drawn.centre, (0, 5, 0)).tolist()), seed=drawn.seed + 1)
    twice, _ = plant(planted, beside)
    marked, _ = plant(planted.with_(data=reference), replace(beside, source="ventricle"))
    followed = marked.data[0] >= 50.5
    np.testing.assert_array_equal(twice.lesion, (followed & scan.mask) | plant(scan, beside)[0].lesion)


def test_labels(scan):
    drawn = draw_lesion(
        scan, np.random.default_rng(3), sources=["mass"], shapes=["ellipsoid"], radius_mm=(9, 12)
    )
    found = {kind: plant(scan, replace(drawn, label=kind))[1] for kind in LABELS}
    assert set(np.unique(found["binary"])) == {0, 1}
    assert ((found["soft"] > 0) & (found["soft"] < 1)).any()
    assert found["displacement"].max() > 1


def test_lesions_add_up_and_work_on_images_and_without_a_mask(scan):
    rng = np.random.default_rng(0)
    once, _ = plant(scan, draw_lesion(scan, rng))
    twice, _ = plant(once, draw_lesion(scan, rng))
    assert (twice.lesion & once.lesion).sum() == once.lesion.sum()
    image = Volume(data=rng.random((1, 1, 64, 64)) + 1, affine=np.eye(4))
    planted, _ = plant(image, draw_lesion(image, rng, radius_mm=(4, 8)))
    assert planted.lesion.any()
    with pytest.raises(InputError, match="no foreground"):
        draw_lesion(image.with_(data=np.zeros_like(image.data)), rng)


def test_a_real_mask_gives_the_shape(tmp_path, scan):
    real = np.zeros((1, 20, 20, 20))
    real[0, 5:15, 8:12, 9:11] = 1
    Volume(data=real, affine=np.eye(4), channels=("mask",)).write(tmp_path / "m.nii.gz")
    drawn = draw_lesion(
        scan,
        np.random.default_rng(0),
        shapes=["mask"],
        mask_files=[str(tmp_path / "m.nii.gz")],
        radius_mm=(10, 12),
    )
    planted, _ = plant(scan, drawn)
    extents = [np.ptp(axis) for axis in np.nonzero(planted.lesion)]
    assert extents[0] > 1.5 * extents[2]


def test_poisson_keeps_the_border_and_the_foreign_gradient():
    target = np.zeros((1, 20, 20), np.float32)
    foreign = np.tile(np.arange(20, dtype=np.float32), (20, 1))[None] + 50
    region = np.zeros((1, 20, 20), bool)
    region[0, 5:15, 5:15] = True
    mixed = poisson_blend(target, foreign, region)
    assert (mixed[~region] == 0).all()
    np.testing.assert_allclose(poisson_blend(foreign, foreign + 7, region), foreign, atol=1e-3)
    smooth = poisson_blend(target + 3, np.zeros_like(foreign), region)
    np.testing.assert_allclose(smooth, 3, atol=1e-4)


def test_constant_sources_cannot_be_poisson_blended(scan):
    drawn = draw_lesion(scan, np.random.default_rng(0), sources=["hyper"])
    with pytest.raises(ConfigError, match="gradients"):
        replace(drawn, blend="poisson")


def test_a_sphere_holds_the_voxels_within_its_radius_and_no_others():
    scan = Volume(data=np.full((1, 40, 40, 40), 100.0, dtype=np.float32), affine=np.diag([1.0, 2, 1, 1]))
    drawn = draw_lesion(
        scan, np.random.default_rng(0), sources=("hyper",), shapes=("sphere",), radius_mm=(6.0, 8.0)
    )
    assert drawn.stretch == (1.0, 1.0, 1.0)
    planted, _ = plant(scan, drawn)
    away = (np.indices(scan.shape).T - drawn.centre) * scan.spacing
    distance = np.sqrt((away**2).sum(axis=-1)).T
    assert planted.lesion[distance < drawn.radius_mm - 0.1].all()
    assert not planted.lesion[distance > drawn.radius_mm + 0.1].any()
