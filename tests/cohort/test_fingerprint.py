from __future__ import annotations

import json

import numpy as np
import pytest
from cohort_scans import ball

from aberra.cohort import Cohort
from aberra.cohort.fingerprint import (
    PERCENTILES,
    Fingerprint,
    contrast_distance,
    fingerprint,
    of_volume,
)
from aberra.errors import MismatchError
from aberra.volume import Volume


def volume(data, spacing=(1.0, 1.0, 1.0), **options):
    return Volume(data=data[None], affine=np.diag([*spacing, 1.0]), **options)


def test_axes_are_superior_posterior_left(scan, tmp_path):
    scan("a.nii.gz", spacing=(1, 2, 5), shape=(24, 26, 28))
    scan("b.nii.gz", spacing=(1, 2, 3), shape=(20, 26, 28))
    calls = []
    found = fingerprint(Cohort.from_paths(tmp_path), progress=lambda *done: calls.append(done))
    assert calls == [(1, 2), (2, 2)]
    assert found.n_cases == 2
    assert found.kind == "volume"
    assert found.shape == {"median": (28, 26, 22), "min": (28, 26, 20), "max": (28, 26, 24)}
    assert found.spacing["median"] == pytest.approx((4, 2, 1))
    assert found.spacing["max"] == pytest.approx((5, 2, 1))
    assert found.orientations == {"RAS": 2}
    assert found.dtypes == {"float32": 2}
    assert found.anisotropy == pytest.approx(4)


def test_extent_is_the_bounding_box_in_mm():
    data = np.zeros((20, 30, 40), np.float32)
    data[5:15, 10:20, 3:33] = 50
    data[6, 12, 5] = 60
    found = of_volume(volume(data, (1, 2, 3)))
    assert found.extent_mm["median"] == pytest.approx((90, 20, 10))
    assert found.foreground == {"non-zero": 1}


@pytest.mark.parametrize("permuted", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_storage_order_does_not_matter(permuted):
    data = ball(shape=(24, 26, 28))
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    turned = Volume(data=data.transpose(permuted)[None], affine=affine[:, [*permuted, 3]])
    plain, other = of_volume(Volume(data=data[None], affine=affine)), of_volume(turned)
    for name in ("shape", "spacing", "extent_mm", "foreground_fraction"):
        assert getattr(plain, name) == getattr(other, name)


def test_percentiles_are_of_the_foreground():
    data = np.zeros((10, 40, 50), np.float32)
    values = np.linspace(50, 150, 10 * 20 * 50, dtype=np.float32)
    data[:, 10:30] = np.random.default_rng(0).permutation(values).reshape(10, 20, 50)
    found = of_volume(volume(data))
    np.testing.assert_allclose(found.curve("image"), np.percentile(values, PERCENTILES), rtol=0.01)
    assert found.intensity["image"]["mean"] == pytest.approx(100, rel=0.01)
    assert found.intensity["image"]["zero_fraction"] == 0.5


def test_given_mask_is_the_foreground():
    data = ball(noise=3.0)
    mask = np.zeros(data.shape, bool)
    mask[5:15, 5:15, 5:15] = True
    found = of_volume(volume(data, mask=mask))
    assert found.has_mask
    assert found.foreground == {"mask": 1}
    assert found.extent_mm["max"] == (10, 10, 10)


@pytest.mark.parametrize(
    ("data", "stripped", "rule"),
    [
        (ball(), True, "non-zero"),
        (ball(noise=2.0, skull=True), False, "otsu"),
    ],
)
def test_skull_guess(data, stripped, rule):
    found = of_volume(volume(data))
    assert found.skull_stripped is stripped
    assert found.skull_reason
    assert found.foreground == {rule: 1}


def test_air_that_fades_into_zero_is_not_a_stripped_brain():
    from scipy import ndimage

    data = np.pad(ball(shape=(40, 40, 40), skull=True), 12)
    haze = np.pad(np.full((52, 52, 52), 4.0, np.float32), 6)
    found = of_volume(volume(np.maximum(ndimage.gaussian_filter(data, 1), haze)))
    assert found.skull_stripped is False
    assert "fades" in found.skull_reason
    assert found.foreground == {"otsu": 1}


def test_images_have_no_skull():
    found = of_volume(volume(np.random.default_rng(0).random((1, 32, 40), dtype=np.float32)))
    assert found.kind == "image"
    assert found.skull_stripped is None
    assert found.anisotropy == 1


def test_constant_scan_is_described_all_the_same():
    found = of_volume(volume(np.zeros((8, 9, 10), np.float32)))
    assert np.isfinite(found.curve("image")).all()


def test_json_round_trip():
    found = of_volume(volume(ball()))
    assert Fingerprint.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_gain_is_no_contrast_and_tissue_is():
    one, loud = of_volume(volume(ball(0))), of_volume(volume(ball(1, gain=40)))
    inverted = of_volume(volume(np.where(ball(2) > 0, 120 - ball(2), 0).astype(np.float32)))
    assert contrast_distance(one, loud, "image") < 0.02
    assert contrast_distance(one, inverted, "image") > 0.1


def test_limit_spreads_over_the_cohort(scan, tmp_path):
    for number in range(5):
        scan(f"{number}.nii.gz", shape=(20 + number, 20, 20))
    found = fingerprint(Cohort.from_paths(tmp_path), limit=3)
    assert found.n_cases == 3
    assert found.shape["min"] == (20, 20, 20)
    assert found.shape["max"] == (20, 20, 24)


def test_nothing_to_describe(scan, manifest):
    with pytest.raises(MismatchError, match="no cases"):
        fingerprint(Cohort([]))
    scan("a.nii.gz")
    scan("b.nii.gz")
    with pytest.raises(MismatchError, match="no channel that every case has"):
        fingerprint(Cohort.read(manifest("case,t1,t2", "a,a.nii.gz,", "b,,b.nii.gz")))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind", "stripped", "extent"),
    [
        ("lgg", "volume", False, (160, 195, 155)),
        ("ms", "volume", True, (150, 180, 147)),
        ("hippocampus", "volume", False, (36, 50, 35)),
        ("ultrasound", "image", None, None),
    ],
)
def test_real_cohorts(name, kind, stripped, extent, real):
    cohort = Cohort.read(real / name / "manifest.csv")
    found = fingerprint(cohort, cohort.common_channels[:1], limit=10)
    assert found.kind == kind
    assert found.skull_stripped is stripped
    if extent is not None:
        assert found.extent_mm["median"] == pytest.approx(extent, rel=0.15)
