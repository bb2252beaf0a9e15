"""Every catalogue entry passes the same checks; a new method gets them by existing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import average_precision_score
from tiny_methods import CONTROLS, DARK, ITERATIVE, NOT_LOCAL, QUIET, tiny

from aberra.detector import Detector
from aberra.errors import AberraError
from aberra.files import config_hash
from aberra.method import catalogue
from aberra.synthesis import LesionParameters, plant
from aberra.volume import Volume

LEARNT = {name: config_hash(tiny(name).learnt) for name in sorted(catalogue())}
FIRST = {learnt: name for name, learnt in reversed(LEARNT.items())}
"""A method of each that learns the same: what is trained alike need not be trained twice to see that it repeats."""


def _each(names):
    """What learns the same is trained once, so it stays on one worker."""
    marked = [pytest.param(name, marks=pytest.mark.xdist_group(LEARNT[name])) for name in names]
    return pytest.mark.parametrize("name", marked)


every_method = _each(LEARNT)


@_each(sorted(FIRST.values()))
def test_same_seed_same_map(name, cohort, lessons, tmp_path):
    method = tiny(name)
    if method.training:  # what differs after a few steps would differ after many
        method = method.overridden({"training.steps": 10})
    first, again = (
        Detector.fit(method, lessons(name), out=tmp_path / each, workers=1) for each in ("first", "again")
    )
    scan = cohort[1][0].read()

    np.testing.assert_array_equal(first.analyse(scan).map, again.analyse(scan).map)
    assert first.calibration == again.calibration


@every_method
def test_saved_and_loaded_gives_the_same_map(name, fitted, cohort):
    detector = fitted(name)
    scan = cohort[1][0].read()
    loaded = Detector.load(detector.folder)

    np.testing.assert_array_equal(detector.analyse(scan).map, loaded.analyse(scan).map)
    assert loaded.identity == detector.identity
    assert loaded.detect(scan).p == detector.detect(scan).p


@every_method
@pytest.mark.parametrize("grid", ["as it is", "flipped", "permuted", "oblique"])
def test_map_is_finite_non_negative_and_on_the_scans_grid(name, grid, fitted, cohort):
    scan = _regrid(cohort[1][0].read(), grid)

    result = fitted(name).detect(scan)

    assert result.map.shape == scan.shape
    np.testing.assert_array_equal(result.map.affine, scan.affine)
    assert result.map.data.dtype == np.float32
    assert np.isfinite(result.map.data).all()
    assert (result.map.data >= 0).all()
    assert result.mask.shape == scan.shape
    if result.uncertainty is not None:
        assert result.uncertainty.shape == scan.shape
        np.testing.assert_array_equal(result.uncertainty.affine, scan.affine)
        assert np.isfinite(result.uncertainty.data).all()
        assert (result.uncertainty.data >= 0).all()
        assert result.uncertainty.data.any()


@every_method
def test_orientation_does_not_change_the_answer(name, fitted, cohort):
    scan = cohort[1][0].read()
    flipped = _regrid(scan, "flipped")

    expected = fitted(name).analyse(scan).map
    found = fitted(name).analyse(flipped).map

    np.testing.assert_allclose(found[::-1, :, ::-1], expected, atol=1e-4 * max(expected.max(), 1))


@every_method
def test_batch_size_does_not_change_the_map(name, fitted, cohort):
    folder = fitted(name).folder
    scan = cohort[1][0].read()

    one = Detector.load(folder, batch_size=1).analyse(scan).map
    seven = Detector.load(folder, batch_size=7).analyse(scan).map

    if name in ITERATIVE:
        assert np.abs(one - seven).mean() < 0.01 * one.mean()
        assert np.abs(one - seven).max() < 0.2 * one.max()
        return
    np.testing.assert_allclose(one, seven, atol=1e-5 * max(one.max(), 1))


@every_method
def test_constant_and_empty_scans_are_errors_that_say_so(name, fitted, cohort):
    scan = cohort[0][0].read()
    for data, said in (
        (np.full_like(scan.data, 100.0), r"constant \(100 everywhere\)"),
        ((scan.data > 0).astype(np.float32), r"constant \(1 in all of its foreground\)"),
        (np.zeros_like(scan.data), r"(?i)empty|foreground|mask"),
    ):
        with pytest.raises(AberraError, match=said):
            fitted(name).analyse(scan.with_(data=data, mask=None))


@every_method
def test_lesion_stands_out_and_raises_the_case_score(name, fitted, cohort):
    detector = fitted(name)
    scans = [case.read() for case in cohort[1] if case.healthy]
    precision, prevalence, raised = [], [], []
    for scan in scans:
        sick = _with_lesion(scan, "hypo" if name in DARK else "hyper")
        before, after = detector.analyse(scan), detector.analyse(sick)
        if name in NOT_LOCAL:
            assert np.abs(after.map - before.map).mean() > 0.01 * before.map.mean()
            continue
        truth = sick.lesion & after.inside
        precision.append(average_precision_score(truth[after.inside], after.map[after.inside]))
        prevalence.append(truth[after.inside].mean())
        raised.append(after.score - before.score)
        if name not in CONTROLS:
            assert after.map[truth].mean() > after.map[after.inside & ~truth].mean()
    if name in NOT_LOCAL:
        return
    if name in CONTROLS:
        assert np.mean(precision) < 2 * np.mean(prevalence)
        np.testing.assert_allclose(raised, 0)
        return
    assert np.mean(precision) > 2 * np.mean(prevalence)
    if name not in QUIET:
        assert np.median(raised) > 0


def _with_lesion(scan: Volume, source: str) -> Volume:
    """A bright (``hyper``) or dark (``hypo``) ellipsoid of 18 mm radius in the depth of the brain."""
    depth = distance_transform_edt(scan.mask)
    centre = np.unravel_index(depth.argmax(), depth.shape)
    lesion = LesionParameters(
        shape="ellipsoid",
        source=source,
        blend="alpha",
        label="binary",
        centre=tuple(int(index) for index in centre),
        radius_mm=18.0,
        stretch=(1.0, 1.0, 1.0),
        strength=0.8,
        offset=(0, 0, 0),
        seed=1,
    )
    return plant(scan, lesion)[0]


def _regrid(scan: Volume, grid: str) -> Volume:
    """The same scan on another grid of the same space, or rotated in space."""
    if grid == "flipped":
        moved = np.eye(4)
        moved[0, 0] = moved[2, 2] = -1
        moved[0, 3], moved[2, 3] = scan.shape[0] - 1, scan.shape[2] - 1
        return _moved(scan, lambda a: a[..., ::-1, :, ::-1], scan.affine @ moved)
    if grid == "permuted":
        return _moved(scan, lambda a: np.moveaxis(a, -1, -3), scan.affine[:, [2, 0, 1, 3]])
    if grid == "oblique":
        angle = np.deg2rad(17)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return scan.with_(affine=turn @ scan.affine)
    return scan


def _moved(scan: Volume, move, affine) -> Volume:
    arrays = {
        label: None if (array := getattr(scan, label)) is None else np.ascontiguousarray(move(array))
        for label in ("data", "mask", "lesion")
    }
    return scan.with_(affine=affine, **arrays)
