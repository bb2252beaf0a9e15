from __future__ import annotations

import json

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import ConfigError, OutputError
from aberra.synthesis import EllipseParameters, draw_ellipses, render_ellipses, write_ellipses
from aberra.synthesis.ellipses import APART, FULL, LESION, PULL, SIGMA, Ring
from aberra.volume import Volume


def along(image, ring, axis, radii):
    """Intensities on the ray from a ring's centre along one of its axes, nearest pixels."""
    angle = ring.angle + axis * np.pi / 2
    rows = np.rint(ring.centre[0] + radii * np.sin(angle)).astype(int)
    columns = np.rint(ring.centre[1] + radii * np.cos(angle)).astype(int)
    return image[rows, columns]


def outline(ring, grow=0.0):
    """Points (2, 360) of an ellipse, rows and columns."""
    turn = np.linspace(0, 2 * np.pi, 360)
    u, v = (ring.semi_axes[0] + grow) * np.cos(turn), (ring.semi_axes[1] + grow) * np.sin(turn)
    sine, cosine = np.sin(ring.angle), np.cos(ring.angle)
    return np.stack([ring.centre[0] + sine * u + cosine * v, ring.centre[1] + cosine * u - sine * v])


def test_truth_is_the_signed_difference_and_pairs_repeat():
    healthy, diseased, truth = render_ellipses(draw_ellipses(1, 0))
    np.testing.assert_array_equal(truth, healthy - diseased)
    assert min(healthy.min(), diseased.min()) >= 0
    assert max(healthy.max(), diseased.max()) <= 1
    assert truth.min() < -0.3
    assert truth.max() > 0.3
    again = render_ellipses(draw_ellipses(1, 0))
    assert [each.tobytes() for each in again] == [each.tobytes() for each in (healthy, diseased, truth)]
    assert not np.array_equal(render_ellipses(draw_ellipses(1, 1))[0], healthy)
    assert not np.array_equal(render_ellipses(draw_ellipses(2, 0))[0], healthy)


@pytest.mark.parametrize("case", range(4))
def test_truth_vanishes_far_from_the_first_ellipse_and_not_near_it(case):
    drawn = draw_ellipses(3, case)
    truth = np.abs(render_ellipses(drawn)[2])
    distance = np.hypot(*(np.indices(truth.shape) - np.reshape(drawn.first.centre, (2, 1, 1))))
    assert truth[distance > 5 * SIGMA].max() < 1e-3
    assert (truth[distance < SIGMA] >= LESION).mean() > 0.2


@pytest.mark.parametrize("axis", [0, 1])
def test_the_first_ellipse_shrinks_to_where_the_displacement_ends_on_its_contour(axis):
    # without waves the contour is all there is; a place r shows what was at r + d(r)
    ring = {"angle": 0.6, "thickness": 5, "height": 0.0, "frequency": 0.3}
    drawn = EllipseParameters(
        first=Ring(centre=(80.0, 70.0), semi_axes=(40.0, 20.0), **ring),
        second=Ring(centre=(180.0, 180.0), semi_axes=(70.0, 35.0), **ring),
    )
    healthy, diseased, _ = render_ellipses(drawn)
    radii = np.arange(4, 60, 0.25)
    before = np.mean(radii[along(healthy, drawn.first, axis, radii) > 0.9])
    after = np.mean(radii[along(diseased, drawn.first, axis, radii) > 0.9])
    displacement = PULL * after / SIGMA * np.exp(0.5 - 0.5 * (after / SIGMA) ** 2)
    assert before == pytest.approx(drawn.first.semi_axes[axis], abs=1)
    assert after < before - 5
    assert after + displacement == pytest.approx(before, abs=1.5)
    rows, columns = np.rint(outline(drawn.second)).astype(int)
    assert healthy[rows, columns].min() > 0.9
    assert diseased[rows, columns].min() > 0.9


def test_tissue_is_never_folded_over():
    r = np.linspace(0, 200, 2000)
    looked_at = r + PULL * r / SIGMA * np.exp(0.5 - 0.5 * (r / SIGMA) ** 2)
    assert (np.diff(looked_at) > 0).all()
    assert (looked_at - r).max() == pytest.approx(12.8, abs=1e-3)


def test_draws_follow_the_definition():
    drawn = [draw_ellipses(0, case) for case in range(150)]
    for each in drawn:
        first, second = outline(each.first, 2), outline(each.second, 2)
        assert np.hypot(*np.subtract(each.first.centre, each.second.centre)) > APART
        for points in (first, second):
            assert points.min() >= -1
            assert points.max() <= FULL
        gaps = np.hypot(*(first[:, :, None] - second[:, None, :]))
        assert gaps.min() > 1
        assert 0.2 <= each.first.frequency <= 0.35 <= each.second.frequency <= 0.5
        assert min(each.first.height, each.second.height) >= 0.2
        assert max(each.first.height, each.second.height) <= 0.4
    axes = np.array([(*each.first.semi_axes, *each.second.semi_axes) for each in drawn])
    # the rules prefer smaller ellipses a little
    np.testing.assert_allclose(axes.mean(axis=0), [40, 20, 70, 35], atol=0.5)
    np.testing.assert_allclose(axes.std(axis=0), 1, atol=0.25)
    thickness = [ring.thickness for each in drawn for ring in (each.first, each.second)]
    assert np.mean(thickness) == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize("size", [64, 128])
def test_smaller_sizes_show_the_same_picture(size):
    drawn = draw_ellipses(4, 0)
    step = FULL // size
    for large, small in zip(render_ellipses(drawn), render_ellipses(drawn, size), strict=True):
        pooled = large.reshape(size, step, size, step).mean(axis=(1, 3))
        assert np.corrcoef(pooled.ravel(), small.ravel())[0, 1] > 0.9


def test_a_cohort_is_unpaired_and_carries_its_truth(tmp_path):
    manifest = write_ellipses(tmp_path / "e", cases=6, size=64, seed=5, workers=1, progress=False)
    cohort = Cohort.read(manifest)
    assert cohort.channel_names == ("image",)
    assert [case.label for case in cohort].count(1) == 3
    assert len({case.patient for case in cohort}) == 6
    for index, case in enumerate(cohort):
        volume = case.read()
        assert volume.shape == (1, 64, 64)
        healthy, diseased, truth = render_ellipses(draw_ellipses(5, index), 64)
        truth_file = manifest.parent / f"{case.case}_truth.nii.gz"
        assert truth_file.is_file() == (case.lesion is not None) == (case.label == 1)
        np.testing.assert_array_equal(volume.data[0, 0], diseased if case.label else healthy)
        if case.label:
            written = Volume.read(truth_file).data[0, 0]
            np.testing.assert_array_equal(written, truth)
            np.testing.assert_allclose(volume.data[0, 0] + written, healthy, atol=1e-6)
            np.testing.assert_array_equal(volume.lesion[0], np.abs(truth) >= LESION)
            record = json.loads((manifest.parent / f"{case.case}.json").read_text())
            assert record["ellipses"]["first"]["thickness"] == draw_ellipses(5, index).first.thickness


def test_an_interrupted_cohort_is_completed_and_another_one_refused(tmp_path):
    options = {"cases": 2, "size": 64, "workers": 1, "progress": False}
    manifest = write_ellipses(tmp_path, **options)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("ellipses-00001.json", "ellipses-00001_image.nii.gz", "manifest.csv"):
        (tmp_path / name).unlink()
    assert write_ellipses(tmp_path, **options) == manifest
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(OutputError, match="other settings"):
        write_ellipses(tmp_path, **(options | {"seed": 1}))


@pytest.mark.parametrize("wrong", [{"size": 32}, {"cases": 0}, {"diseased": 1.5}])
def test_numbers_out_of_range_are_refused_before_anything_is_written(wrong, tmp_path):
    with pytest.raises(ConfigError, match="expected"):
        write_ellipses(tmp_path / "no", **({"cases": 2, "size": 64, "progress": False} | wrong))
    assert not (tmp_path / "no").exists()
