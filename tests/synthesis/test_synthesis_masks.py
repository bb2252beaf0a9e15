from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from label_maps import structures, write

from aberra.cohort import Cohort
from aberra.errors import InputError
from aberra.synthesis.anatomy import Anatomy
from aberra.synthesis.cohort import write_cohort
from aberra.synthesis.contrast import draw_contrast
from aberra.synthesis.heads import draw_head, draw_scans, render_head
from aberra.synthesis.masks import BEYOND_MM, real_shapes
from aberra.synthesis.profiles import box_round, depth_in, draw_lesions, profiles
from aberra.synthesis.source import HeadSource


@pytest.fixture
def mask(tmp_path):
    """A bar of 4 × 4 × 20 mm, a cube of 8 mm and a single voxel, in 1 × 1 × 2 mm."""
    labels = np.zeros((40, 40, 30), dtype=np.uint8)
    labels[5:9, 5:9, 5:15] = 1
    labels[20:28, 20:28, 10:14] = 1
    labels[35, 35, 25] = 1
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(labels, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return str(path)


def _drawn(mask, profile="stroke", seed=0):
    contrast = draw_contrast("flair", np.random.default_rng(seed))
    return draw_lesions(profile, contrast, np.random.default_rng(seed), (mask,))


def test_the_parts_of_a_mask_in_millimetres(mask):
    bar, cube, speck = real_shapes(mask)
    assert [each.voxels for each in (bar, cube, speck)] == [160, 256, 1]
    assert bar.radius == pytest.approx((3 * 320 / 4 / np.pi) ** (1 / 3))
    assert bar.reach == pytest.approx(np.sqrt(1.5**2 + 1.5**2 + 9**2))
    along = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 8.0]], dtype=np.float32)
    across = np.array([[4.0], [0.0], [0.0]], dtype=np.float32)
    assert (bar.distance(along, bar.radius) < 0).all()
    assert bar.distance(across, bar.radius)[0] == pytest.approx(2, abs=0.7)
    # twice as large, twice as far
    assert bar.distance(2 * along, 2 * bar.radius) == pytest.approx(2 * bar.distance(along, bar.radius))
    assert bar.distance(100 * across, bar.radius)[0] == BEYOND_MM


def test_lesions_have_the_shapes_and_sizes_of_a_mask_within_the_profile(mask):
    sizes = {each.radius: number for number, each in enumerate(real_shapes(mask))}
    for seed in range(8):
        for lesion in _drawn(mask, seed=seed):
            assert lesion.mask_file == mask
            assert lesion.mask_part in {0, 1}  # the speck is smaller than a stroke
            assert min(abs(lesion.radius - each) for each in sizes) < 1e-3
            assert lesion.wedge == 0
    low, high = profiles()["tumour"].radius
    assert all(low <= each.radius <= high for each in _drawn(mask, "tumour"))


def test_without_masks_the_same_is_drawn_and_with_them_all_but_shape_and_size(mask):
    contrast = draw_contrast("flair", np.random.default_rng(3))
    plain = draw_lesions("ms", contrast, np.random.default_rng(3))
    shaped = draw_lesions("ms", contrast, np.random.default_rng(3), (mask,))
    for one, two in zip(plain, shaped, strict=True):
        kept = {"radius": one.radius, "mass": one.mass, "wedge": one.wedge, "mask_file": "", "mask_part": 0}
        assert replace(two, **kept) == one
    lost = [draw_lesions("atrophy", contrast, np.random.default_rng(3), each) for each in ((), (mask,))]
    assert lost[0] == lost[1]


@pytest.mark.parametrize("spacing", [1.0, 2.0])
@pytest.mark.parametrize("seed", [4, 5])
def test_a_shape_is_turned_and_keeps_its_volume_on_any_grid(mask, spacing, seed):
    bar = real_shapes(mask)[0]
    lesion = replace(
        _drawn(mask)[0], mask_part=0, radius=bar.radius, turn=(0.4, 1.0, 2.0), edge=1.0, seed=seed
    )
    shape, at = (60, 60, 60), (30, 30, 30)
    box = box_round(lesion, at, shape, spacing)
    depth = depth_in(lesion, box, at, spacing, np.random.default_rng(0))
    inside = np.zeros(shape, dtype=bool)
    inside[box] = depth > 0
    assert inside.sum() * spacing**3 == pytest.approx(320, rel=0.3)
    axes = np.linalg.svd((np.argwhere(inside) - at) * spacing)[1]
    assert axes[0] > 2.5 * axes[1]  # still a bar
    edges = [
        inside.take(index, axis=axis) for axis in range(3) for index in (box[axis].start, box[axis].stop - 1)
    ]
    assert not any(each.any() for each in edges)


def test_every_second_seed_is_mirrored(mask):
    lesion = replace(_drawn(mask)[0], turn=(0.0, 0.0, 0.0))
    box = (slice(0, 41),) * 3
    one, two = (
        depth_in(replace(lesion, seed=seed), box, (20, 20, 20), 1.0, np.random.default_rng(0))
        for seed in (2, 3)
    )
    np.testing.assert_allclose(one, two[::-1], atol=1e-5)


def test_the_scans_of_a_head_have_the_same_shapes(mask, tmp_path):
    anatomy = Anatomy.read(write(tmp_path / "head.nii.gz", structures()))
    first, second = draw_scans(np.random.default_rng(1), ["flair", "t1"], ["tumour"], [mask])
    assert [each.mask_part for each in first.lesions] == [each.mask_part for each in second.lesions]
    volume = render_head(first, anatomy, 2.0)
    plain = render_head(replace(first, lesions=()), anatomy, 2.0)
    assert volume.lesion.any()
    assert (np.abs(volume.data - plain.data)[0][volume.lesion] > 0).mean() > 0.9


def test_a_cohort_and_a_training_source_take_them(mask, tmp_path, monkeypatch):
    head = write(tmp_path / "head.nii.gz", structures())
    made = write_cohort(
        tmp_path / "cohort", cases=1, lesions=1.0, spacing=3.0, anatomy=head, masks=mask, profiles=("tumour",),
        workers=1, progress=False,
    )  # fmt: skip
    (case,) = Cohort.read(made)
    assert f'"mask_file": "{mask}"' in (made.parent / f"{case.case}.json").read_text()
    given = {"anatomies": (head,), "contrasts": {"flair": 1}, "profiles": {"tumour": 1}, "spacing": 3.0}
    drawn = []

    def noted(*given):
        drawn.append(draw_head(*given))
        return drawn[-1]

    monkeypatch.setattr("aberra.synthesis.source.draw_head", noted)
    for share, some in ((1.0, {mask}), (0.0, {""}), (0.5, {mask, ""})):
        drawn.clear()
        source = HeadSource(**given, masks=(mask,), masked=share)
        assert sum(int(source.image(number).lesion.any()) for number in range(8)) > 4
        assert {lesion.mask_file for each in drawn for lesion in each.lesions} == some


def test_an_empty_mask_is_refused_by_name(tmp_path):
    path = tmp_path / "empty.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), dtype=np.uint8), np.eye(4)), path)
    with pytest.raises(InputError, match=r"empty\.nii\.gz: no lesion"):
        draw_head(np.random.default_rng(0), "flair", ["ms"], [str(path)])
