from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from label_maps import FREESURFER, RIGHT, renumbered, structures, write
from scipy.ndimage import distance_transform_edt

from aberra.cohort import Cohort
from aberra.synthesis import anatomy as a
from aberra.synthesis.anatomy import Anatomy
from aberra.synthesis.atrophy import MOVED, near, shrink
from aberra.synthesis.cohort import write_cohort
from aberra.synthesis.contrast import draw_contrast
from aberra.synthesis.heads import draw_head, rendered
from aberra.synthesis.profiles import draw_lesions
from aberra.synthesis.scans import MappedScan
from aberra.synthesis.source import HeadSource
from aberra.volume import Volume

SPACING = 3.0
MIDDLE = (28, 28, 28)


@pytest.fixture(scope="module")
def labels():
    return structures().transpose(2, 1, 0)


@pytest.fixture(scope="module")
def anatomy(tmp_path_factory):
    return Anatomy.read(write(tmp_path_factory.mktemp("maps") / "head.nii.gz", structures()))


def _loss(**options):
    drawn = draw_lesions("atrophy", draw_contrast("t1", np.random.default_rng(0)), np.random.default_rng(1))[
        0
    ]
    return replace(drawn, **{"loss": 2.0, "ventricles": 2.0, "everywhere": True, "both": False} | options)


def _after(labels, at=MIDDLE, **options):
    return shrink(labels, [(_loss(**options), at)], SPACING)


def _amount(labels, *numbers):
    return int(np.isin(labels, numbers).sum())


def test_fluid_grows_and_tissue_is_what_it_cost(labels):
    after = _after(labels)
    assert _amount(after.labels, a.VENTRICLE) > 1.3 * _amount(labels, a.VENTRICLE)
    assert _amount(after.labels, a.CSF) > _amount(labels, a.CSF)
    assert _amount(after.labels, a.CORTEX) < _amount(labels, a.CORTEX)
    tissue = [np.isin(each, a.TISSUES) for each in (labels, after.labels)]
    np.testing.assert_array_equal(after.lost, tissue[0] & ~tissue[1])
    assert not (tissue[1] & ~tissue[0]).any()
    np.testing.assert_array_equal(after.labels == a.SKULL, labels == a.SKULL)


def test_more_loss_loses_more_and_the_cortex_stays(labels):
    lost = [int(_after(labels, loss=loss).lost.sum()) for loss in (0.3, 1.0, 3.0)]
    assert 0 < lost[0] < lost[1] < lost[2]
    # cortex moves inwards with the border of the brain, it is not peeled off
    peeled = _amount(labels[_after(labels, loss=3.0).lost], a.CORTEX)
    kept = _amount(labels, a.CORTEX) - _amount(_after(labels, loss=3.0).labels, a.CORTEX)
    assert kept < peeled


def test_a_region_loses_tissue_there_alone_or_on_both_sides(labels):
    at = (28, 28, 42)
    distance = np.linalg.norm(np.indices(labels.shape) - np.reshape(at, (3, 1, 1, 1)), axis=0) * SPACING
    one = _after(labels, at, everywhere=False, radius=24.0)
    both = _after(labels, at, everywhere=False, radius=24.0, both=True)
    assert one.lost.any()
    assert distance[one.lost].max() < 24 * 2.2
    left, right = (int(both.lost[..., part].sum()) for part in (slice(0, 28), slice(28, None)))
    assert left > 0.4 * right
    assert not one.lost[..., :14].any()


def test_thin_tissue_is_never_cut_through(labels):
    thin = np.full((24, 24, 24), a.CSF, dtype=np.uint8)
    thin[..., 11:13] = a.WHITE
    after = _after(thin, (12, 12, 12), loss=4.0)
    assert (after.labels[1:-1, 1:-1] == a.WHITE).any(axis=2).mean() > 0.5


def test_tissue_that_moved_looks_towards_fluid(labels):
    after = _after(labels, loss=3.0)
    index = np.stack(np.unravel_index(after.voxels, labels.shape))
    fluid = distance_transform_edt(np.isin(labels, a.TISSUES))
    step = after.source - index
    assert np.abs(step).max() > MOVED
    nearer = fluid[tuple(np.rint(after.source).astype(int))] - fluid[tuple(index)]
    assert (nearer <= 0).mean() > 0.95
    assert (np.diff(step[:, :1]) == 0).all()


def test_distances_are_those_of_an_exact_transform():
    there = np.random.default_rng(0).random((30, 28, 26)) < 0.002
    exact = np.minimum(distance_transform_edt(~there) ** 2, 36)
    np.testing.assert_array_equal(near(there, 5), np.rint(exact))


@pytest.mark.parametrize(("contrast", "value"), [("t1", 2), ("t2", 1)])
def test_the_target_is_lost_tissue_and_says_which_way_it_turned(contrast, value, anatomy):
    drawn = draw_head(np.random.default_rng(4), contrast, ["atrophy"])
    drawn = replace(drawn, tight=False, margin=0.0, rough=0.0, lesions=(_loss(),))
    volume, after = rendered(drawn, anatomy, SPACING)
    healthy, before = rendered(replace(drawn, lesions=()), anatomy, SPACING)
    lost = np.isin(before, a.TISSUES) & ~np.isin(after, a.TISSUES)
    np.testing.assert_array_equal(volume.lesion, lost & volume.mask)
    assert (np.asarray(volume.labels)[volume.lesion] == value).mean() > 0.9
    change = (volume.data - healthy.data)[0][volume.lesion].mean()
    assert (change > 0) == (value == 1)
    assert volume.content_hash() == rendered(drawn, anatomy, SPACING)[0].content_hash()


def test_lesions_of_another_disease_join_in(anatomy):
    drawn = draw_head(np.random.default_rng(2), "flair", ["atrophy", "tumour"])
    assert [bool(each.loss) for each in drawn.lesions[:2]] == [True, False]
    volume, _ = rendered(drawn, anatomy, SPACING)
    assert set(np.unique(np.asarray(volume.labels))) >= {1, 2}


def test_other_diseases_draw_what_they_drew():
    drawn = draw_lesions("ms", draw_contrast("flair", np.random.default_rng(0)), np.random.default_rng(1))
    assert not any(each.loss or each.mask_file for each in drawn)


def test_a_real_scan_is_warped_and_filled_with_its_fluid(tmp_path):
    numbers = structures()
    means = np.zeros(31, dtype=np.float32)
    means[[a.CORTEX, a.WHITE, a.VENTRICLE, a.CSF, a.THALAMUS, a.PUTAMEN, a.PLEXUS]] = (
        60,
        100,
        25,
        20,
        80,
        85,
        40,
    )
    x = means[numbers]
    volume = Volume.read(write(tmp_path / "t1.nii.gz", x)).with_(channels=("t1",))
    labels = write(tmp_path / "labels.nii.gz", renumbered(numbers, FREESURFER, RIGHT))
    scan = MappedScan.of(volume, labels)
    sick = scan.onto(scan.painted((_loss(),)), volume)
    assert sick.lesion.sum() > 500
    assert (np.asarray(sick.labels)[sick.lesion] == 2).mean() > 0.9
    # dark as fluid is, where there was tissue; what lies deep is untouched
    assert np.median(sick.data[0][sick.lesion]) < 40 < np.median(volume.data[0][sick.lesion])
    deep = distance_transform_edt(np.isin(numbers, a.TISSUES)) * SPACING > 24
    assert np.abs(sick.data - volume.data)[0][deep].max(initial=0) < 5
    plain = volume.data[0][~sick.lesion] - sick.data[0][~sick.lesion]
    assert (plain != 0).any()  # gyri narrow


def test_the_profile_is_taken_wherever_profiles_are(tmp_path):
    head = write(tmp_path / "head.nii.gz", structures())
    source = HeadSource(
        anatomies=(head,),
        contrasts={"t1": 1.0},
        profiles={"atrophy": 1.0},
        spacing=SPACING,
        size=(32, 32, 32),
    )
    assert source.image(0).lesion.any()
    options = {
        "cases": 2,
        "lesions": 0.5,
        "contrast": "t1,flair",
        "spacing": SPACING,
        "profiles": ("atrophy",),
    }
    made = Cohort.read(write_cohort(tmp_path / "cohort", anatomy=head, workers=1, progress=False, **options))
    assert [case.read().lesion is not None and bool(case.read().lesion.any()) for case in made].count(
        True
    ) == 1
