from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from label_maps import structures, write
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from aberra.cohort import Cohort
from aberra.errors import ConfigError
from aberra.prepare.normalise import Normalise
from aberra.synthesis import anatomy as a
from aberra.synthesis.anatomy import Anatomy
from aberra.synthesis.cohort import write_cohort
from aberra.synthesis.contrast import CONTRASTS, draw_contrast
from aberra.synthesis.grids import along, blur, smooth, thick
from aberra.synthesis.heads import draw_head, render_head, rendered
from aberra.synthesis.profiles import SITES, draw_lesions, profiles

SPACING = 3.0


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return Anatomy.read(write(tmp_path_factory.mktemp("maps") / "head.nii.gz", structures()))


def _drawn(contrast="flair", profile=None, seed=0):
    return draw_head(np.random.default_rng([seed, 3]), contrast, [profile] if profile else [])


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_the_same_parameters_give_the_same_bytes_and_others_do_not(contrast, head):
    drawn = _drawn(contrast, "ms")
    first, again = (render_head(drawn, head, SPACING) for _ in range(2))
    assert first.content_hash() == again.content_hash()
    assert first.content_hash() != render_head(_drawn(contrast, "ms", 1), head, SPACING).content_hash()
    assert first.orientation == "SPL"
    assert (first.data[0][~first.mask] == 0).all()


def test_healthy_is_empty_and_everything_else_of_a_diseased_image_is_the_healthy_one(head):
    for seed in range(4):
        sick = _drawn("flair", "ms", seed)
        sick = replace(
            sick,
            gamma=0.0,
            noise=0.0,
            slices=None,
            lesions=tuple(replace(each, foreign=False) for each in sick.lesions),
        )
        with_, without = (render_head(each, head, SPACING) for each in (sick, replace(sick, lesions=())))
        assert not without.lesion.any()
        np.testing.assert_array_equal(with_.mask, without.mask)
        changed = np.abs(with_.data[0] - without.data[0])
        far = gaussian_filter(with_.lesion.astype(float), 1.5) < 1e-3
        # beyond soft edges and the point spread nothing is touched
        assert (changed[far] < 0.02).mean() > 0.995


@pytest.mark.parametrize(
    "profile", [name for name, each in profiles().items() if name != "generic" and not each.loss]
)
def test_the_target_lies_where_intensities_changed_and_says_which_way(profile, head):
    seen = 0
    for seed in range(6):
        drawn = replace(
            _drawn("flair", profile, seed), gamma=0.0, noise=0.0, slices=None, ghost=0.0, blur=0.0
        )
        still = replace(drawn, lesions=tuple(replace(each, mass=0.0) for each in drawn.lesions))
        with_, without = (render_head(each, head, 2.0) for each in (still, replace(still, lesions=())))
        change = with_.data[0] - without.data[0]
        labels = np.asarray(with_.labels)
        for value, sign in ((1, 1), (2, -1)):
            inside = binary_erosion(labels == value)
            if inside.sum() > 20:
                seen += 1
                # single voxels differ by texture and overlapping lesions
                assert (sign * change[inside] > 0).mean() > 0.7
                assert sign * change[inside].mean() > 0
    assert seen


def test_a_tumour_pushes_tissue_away(head):
    drawn = _drawn("flair", "tumour", 2)
    lesion = replace(drawn.lesions[0], radius=18.0, mass=0.0)
    still = render_head(replace(drawn, lesions=(lesion,)), head, 2.0)
    pushed = render_head(replace(drawn, lesions=(replace(lesion, mass=8.0),)), head, 2.0)
    assert (np.abs(still.data - pushed.data) > 0.02).sum() > 100


def test_a_leaking_mask_takes_in_bright_fat_and_no_lesion(head):
    tight = replace(_drawn("flair", "ms", 3), leaks=0, blur=0.0, slices=None)
    plain = render_head(tight, head, 2.0)
    wide = render_head(replace(tight, leaks=2, leak=(20.0, 5.0, 1.5)), head, 2.0)
    before, after = np.asarray(plain.mask), np.asarray(wide.mask)
    outside = after & ~before
    assert not (before & ~after).any()
    assert outside.sum() > 50
    assert not np.asarray(wide.lesion)[outside].any()
    assert wide.data[0][outside].max() > plain.data[0][before].mean()


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_no_draw_leaves_the_range_of_a_scanner(contrast, head):
    for seed, profile in enumerate([*profiles(), "generic", "generic", "generic"]):
        volume = render_head(_drawn(contrast, profile, seed), head, 4.0)
        assert np.isfinite(volume.data).all()
        low, high = (-1024, 3071) if contrast == "ct" else (0, 5)
        assert low <= volume.data.min() < volume.data.max() <= high


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_lesions_of_water_have_their_direction(contrast):
    drawn = [draw_contrast(contrast, np.random.default_rng(seed)) for seed in range(30)]
    steps = [lesion.step for each in drawn for lesion in draw_lesions("wmh", each, np.random.default_rng(1))]
    if contrast == "random":
        assert min(steps) < 0 < max(steps) or drawn[0].bright == 0
    else:
        assert all(np.sign(step) == (-1 if contrast in {"t1", "ct"} else 1) for step in steps)
    for each in drawn:
        assert np.isfinite(each.means).all()
        if contrast == "flair":
            assert each.means[a.CSF] < each.means[a.WHITE]


# -- computed tomography ---------------------------------------------------------------------------


def _ct(profile=None, seed=0):
    """A drawn head without noise and thick slices."""
    return replace(_drawn("ct", profile, seed), noise=0.0, slices=None, blur=0.0)


def test_tissue_bone_and_air_have_their_hounsfield_units(head):
    for seed in range(3):
        volume, labels = rendered(_ct(seed=seed), head, 3.0, whole=True)
        hu = volume.data[0]
        assert volume.channels == ("ct",)
        assert (hu == hu.round()).all()
        expected = {
            0: (-1000, -1000),
            a.CSF: (2, 20),
            a.WHITE: (23, 34),
            a.CORTEX: (29, 44),
            a.SKULL: (600, 1400),
        }
        for number, (low, high) in expected.items():
            assert low <= np.median(hu[labels == number]) <= high
        assert np.median(hu[labels == a.CORTEX]) > np.median(hu[labels == a.WHITE])


def test_the_noise_of_ct_is_symmetric_and_a_few_hounsfield_units(head):
    quiet = _ct()
    plain = render_head(quiet, head, 3.0)
    grain = (render_head(replace(quiet, noise=0.04), head, 3.0).data - plain.data)[0][plain.mask]
    assert abs(grain.mean()) < 0.1
    assert 3.9 < grain.std() < 4.1


def test_no_magnet_disturbs_a_ct():
    for seed in range(8):
        drawn = _drawn("ct", seed=seed)
        assert (drawn.bias, drawn.ghost, drawn.gamma, drawn.margin, drawn.leaks) == (0, 0, 0, 0, 0)
        assert drawn.slices is None or drawn.slices[0] == 0


@pytest.mark.parametrize(("profile", "sign"), [("haemorrhage", 1), ("stroke", -1), ("tumour", -1)])
def test_blood_is_bright_in_ct_and_water_dark(profile, sign, head):
    steps = [lesion.step for seed in range(40) for lesion in _drawn("ct", profile, seed).lesions]
    share = (np.sign(steps) == sign).mean()
    assert share == 1 if profile == "haemorrhage" else share > 0.75
    sick = next(
        volume
        for seed in range(20)
        if (volume := render_head(_ct(profile, seed), head, 2.0)).lesion.sum() > 200
    )
    hu = sick.data[0][sick.lesion]
    assert np.median(hu) > 50 if sign > 0 else np.median(hu) < 35


def test_whole_heads_of_ct_are_written_as_a_cohort(tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    write(maps / "a.nii.gz", structures())
    manifest = write_cohort(
        tmp_path / "ct", cases=2, lesions=0.5, contrast="ct", spacing=4.0, anatomy=maps, profiles=["haemorrhage"],
        whole=True, workers=1, progress=False,
    )  # fmt: skip
    healthy, sick = Cohort.read(manifest)
    assert healthy.read().data.min() <= -1000
    assert sick.groups["profile"] == "haemorrhage"
    assert sick.label == 1


def test_ct_needs_label_maps(tmp_path):
    with pytest.raises(ConfigError, match="--anatomy"):
        write_cohort(tmp_path / "ct", cases=1, contrast="ct", progress=False)


# -- profiles --------------------------------------------------------------------------------------


def test_profiles_are_whole():
    assert {"ms", "wmh", "tumour", "stroke", "haemorrhage", "fcd", "generic"} <= set(profiles())
    for each in profiles().values():
        assert set(each.sites) <= set(SITES)
        assert 0 < each.radius[0] < each.radius[1] <= 45
        assert 1 <= each.count[0] <= each.count[1]
    assert profiles()["tumour"].radius[1] >= 30
    assert profiles()["ms"].radius[0] <= 1.5


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="flair"):
        _drawn("flare")
    with pytest.raises(ConfigError, match="tumour"):
        _drawn("flair", "tumor")


# -- grids -----------------------------------------------------------------------------------------


def test_blur_is_a_gaussian_filter_and_keeps_constants():
    x = np.random.default_rng(0).random((20, 25, 22)).astype(np.float32)
    inner = (slice(6, -6),) * 3
    np.testing.assert_allclose(blur(x, 1.2)[inner], gaussian_filter(x, 1.2)[inner], atol=2e-3)
    np.testing.assert_allclose(blur(np.ones_like(x), 2.0), 1, atol=1e-5)


def test_smooth_noise_has_unit_variance_and_its_width():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth((30, 28, 26), 6, rng) for _ in range(40)])
    assert fields.std() == pytest.approx(1, abs=0.1)
    one, ten = (np.mean(fields[..., lag:] * fields[..., : -lag or None]) for lag in (1, 10))
    assert one > 0.9
    assert abs(ten) < 0.2


@pytest.mark.parametrize("step", [1.5, 3.3, 5.0])
def test_slices_keep_constants_and_ramps(step):
    down, back = thick(40, step, step, 0.3)
    assert down.shape[0] < 40
    np.testing.assert_allclose(back @ down @ np.ones(40), 1, atol=1e-5)
    ramp = np.arange(40, dtype=np.float32)
    inner = slice(int(2 * step) + 1, -int(2 * step) - 1)
    np.testing.assert_allclose((back @ down @ ramp)[inner], ramp[inner], atol=0.15)
    x = np.random.default_rng(0).random((4, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(along(x, down, 1), np.einsum("nl,dlw->dnw", down, x), atol=1e-5)


def test_interdecile_puts_the_median_at_0_and_the_deciles_1_apart(head):
    volume = render_head(_drawn(), head, SPACING)
    inside = Normalise(method="interdecile")(volume).data[0][volume.mask]
    low, middle, high = np.percentile(inside, (10, 50, 90))
    assert middle == pytest.approx(0, abs=1e-4)
    assert high - low == pytest.approx(1, abs=1e-4)


# -- cohorts ---------------------------------------------------------------------------------------


def _cohort(folder, maps, **options):
    given = {
        "cases": 3,
        "contrast": "flair,t1",
        "spacing": 3.0,
        "lesions": 0.67,
        "anatomy": maps,
        "workers": 1,
        "progress": False,
    }
    return Cohort.read(write_cohort(folder, **given | options))


def test_a_cohort_of_label_maps_has_truth_patients_and_a_record(tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("one", "two"):
        write(maps / f"{name}.nii.gz", structures())
    cases = list(_cohort(tmp_path / "cohort", maps, profiles=("tumour",)))
    assert [case.patient for case in cases] == ["one", "two", "one"]
    assert sum(not case.healthy for case in cases) == 2
    for case in cases:
        volume = case.read(["flair", "t1"])
        record = json.loads((tmp_path / "cohort" / f"{case.case}.json").read_text())
        assert (record["profile"] == "tumour") == bool(record["lesions"]) == (not case.healthy)
        assert volume.mask.sum() > 1000
        if not case.healthy:
            assert volume.lesion.any()
            again = _cohort(tmp_path / "again", maps, profiles=("tumour",))
            assert again[cases.index(case)].read(["flair", "t1"]).content_hash() == volume.content_hash()


def test_planted_lesions_and_whole_heads_of_label_maps(tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    write(maps / "one.nii.gz", structures())
    (case,) = _cohort(tmp_path / "head", maps, cases=1, lesions=1.0, contrast="random", whole=True)
    volume = case.read(["image"])
    assert volume.lesion.any()
    assert not (volume.lesion & ~volume.mask).any()
    shell = distance_transform_edt(~volume.mask) * 3.0
    assert volume.data[0][(shell > 5) & (shell < 10)].max() > 0  # skull
    (stripped,) = _cohort(tmp_path / "brain", maps, cases=1, lesions=0.0, contrast="random")
    assert stripped.read(["image"]).shape < volume.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anatomy": None, "profiles": ("ms",), "whole": True}, "--anatomy"),
        ({"anatomy": None, "whole": True}, "--anatomy"),
        ({"profiles": ("mss",)}, "ms"),
        ({"contrast": "t1ce"}, "t1"),
    ],
)
def test_wishes_that_label_maps_cannot_meet_are_refused(options, message, tmp_path):
    write(tmp_path / "one.nii.gz", structures())
    with pytest.raises(ConfigError, match=message):
        _cohort(tmp_path / "cohort", tmp_path, **options)


def test_profiles_without_label_maps_are_painted_into_the_atlas(tmp_path):
    anatomy = Anatomy.atlas()
    assert Anatomy.atlas() is anatomy
    present = set(np.unique(anatomy.labels).tolist())
    assert {a.CORTEX, a.WHITE, a.VENTRICLE, a.CSF, a.PUTAMEN} <= present
    sick, well = sorted(
        _cohort(tmp_path / "cohort", None, cases=2, lesions=0.5, contrast="flair", profiles=("tumour",)),
        key=lambda case: case.healthy,
    )
    assert sick.read().lesion.sum() * 27 > 500
    assert well.healthy
    assert sick.patient != well.patient


def test_a_folder_without_label_maps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no label map"):
        _cohort(tmp_path / "cohort", tmp_path / "nothing")
