from __future__ import annotations

import numpy as np
import pytest

from aberra.cohort import Case
from aberra.cohort.fingerprint import of_volume
from aberra.errors import ConfigError, InputError
from aberra.prepare import Recipe, plan, prepare_cohort
from aberra.prepare.register import Register
from aberra.synthesis import draw_phantom, render
from aberra.volume import Volume

STEPS = [{"name": "orient"}, {"name": "brain-mask"}, {"name": "normalise", "method": "zscore"}]


def _case(folder, name, value=0):
    rng = np.random.default_rng(value)
    Volume(data=rng.random((1, 6, 7, 8)) + 1, affine=np.eye(4)).write(folder / f"{name}.nii.gz")
    return Case(case=name, patient=name, channels={"t1": folder / f"{name}.nii.gz"})


@pytest.mark.parametrize(
    ("last", "kept"),
    [
        ({"name": "normalise", "method": "none"}, True),
        ({"name": "normalise", "method": "none", "clip": [0.0, 1.0]}, False),
        ({"name": "normalise", "method": "percentile"}, False),
        ({"name": "bias-field"}, False),
    ],
)
def test_intensities_are_the_scans_own_without_steps_that_change_them(last, kept):
    assert Recipe.from_config([*STEPS[:2], last]).keeps_intensities == kept


def test_fingerprint_changes_with_options_and_not_with_spelt_out_defaults():
    first = Recipe.from_config(STEPS).fingerprint
    assert Recipe.from_config([{"name": "orient", "to": "SPL"}, *STEPS[1:]]).fingerprint == first
    assert Recipe.from_config([*STEPS[:2], {"name": "normalise", "method": "equalise"}]).fingerprint != first


def test_unknown_steps_and_options_name_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'orient'"):
        Recipe.from_config([{"name": "orientt"}])
    with pytest.raises(ConfigError, match="Did you mean 'method'"):
        Recipe.from_config([{"name": "normalise", "methd": "zscore"}])


def test_the_cache_is_reused_and_never_stale(tmp_path):
    cases = [_case(tmp_path, name, index) for index, name in enumerate("abc")]
    recipe = Recipe.from_config(STEPS)
    cache = tmp_path / "cache"
    first = prepare_cohort(cases, recipe, cache, channels=["t1"])
    stamps = {path: path.stat().st_mtime_ns for path in cache.glob("*/data.npy")}
    prepare_cohort(cases, recipe, cache, channels=["t1"])
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*/data.npy")} == stamps
    assert isinstance(first[0].data, np.memmap) or isinstance(first[0].data.base, np.memmap)
    np.testing.assert_array_equal(first[1].data, recipe(cases[1].read()).data)

    _case(tmp_path, "b", 77)
    changed = prepare_cohort(cases, recipe, cache, channels=["t1"])
    np.testing.assert_array_equal(changed[1].data, recipe(cases[1].read()).data)
    other = Recipe.from_config([*STEPS[:2], {"name": "normalise", "method": "equalise"}])
    assert prepare_cohort(cases, other, cache, channels=["t1"])[0].data.max() == 1


def test_every_failing_case_is_named_and_the_others_are_kept(tmp_path):
    cases = [_case(tmp_path, name) for name in "abc"]
    for size, name in enumerate("ab", start=6):
        Volume(data=np.zeros((1, size, 7, 8)), affine=np.eye(4)).write(tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputError, match=r"2 of 3") as caught:
        prepare_cohort(cases, Recipe.from_config(STEPS), tmp_path / "cache", channels=["t1"])
    assert "a: " in str(caught.value)
    assert "b: " in str(caught.value)
    assert len(list((tmp_path / "cache").glob("*/data.npy"))) == 1


def test_plans_fit_the_foreground_and_suit_the_network():
    phantom = render(draw_phantom(0, 0), 3.0)
    found = of_volume(phantom)
    for dims, size in ((2, None), (2, 64), (3, None), (3, 32)):
        planned = plan(found, dims=dims, size=size)
        prepared = Recipe.from_config(planned["prepare"])(phantom)
        assert len(planned["size"]) == dims
        assert all(edge % 16 == 0 for edge in planned["size"])
        assert not prepared.provenance["warnings"]
        if dims == 2:
            assert prepared.shape[1:] == tuple(planned["size"])
    with pytest.raises(ConfigError, match="grid"):
        plan(found, grid="nonsense")


def test_registration_recovers_a_known_shift_and_scale():
    phantom = render(draw_phantom(0, 0, "t1"), 3.0)
    moved = phantom.affine.copy()
    moved[:3, :3] *= 0.9
    moved[:3, 3] += [12, -9, 15]
    first = Register(spacing=4.0)(phantom)
    second = Register(spacing=4.0)(phantom.with_(affine=moved))
    assert first.shape == second.shape
    overlap = (first.mask & second.mask).sum() / (first.mask | second.mask).sum()
    assert overlap > 0.95


def test_a_truncated_learnt_state_is_refused():
    recipe = Recipe.from_config([{"name": "orient"}, {"name": "histogram-match", "points": 3}])
    state = [{}, {"reference": [[0.0, 1.0, 2.0]]}]
    recipe.load_state(state)
    assert recipe.state() == state
    for truncated in ([], state[:1], [*state, {}]):
        with pytest.raises(ConfigError, match=f"{len(truncated)} learnt states of 2 steps"):
            recipe.load_state(truncated)
    with pytest.raises(ConfigError, match="reference"):
        recipe.load_state([{}, {}])
    with pytest.raises(ConfigError, match="orient: learns nothing"):
        recipe.load_state([{"reference": []}, state[1]])
