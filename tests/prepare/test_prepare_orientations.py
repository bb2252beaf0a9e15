"""The same scan in every order of axes that a file can have."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from aberra.cohort import Cohort
from aberra.cohort.fingerprint import of_volume
from aberra.detector import Detector
from aberra.method import Method
from aberra.prepare import back, resample_to
from aberra.prepare.orient import Orient
from aberra.prepare.resample import Resample
from aberra.synthesis import write_cohort
from aberra.volume import ON_GRID, Volume

CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for sides in product((0, 1), repeat=3)
]


def _stored(volume, codes):
    """The volume as a file with its axes along ``codes`` has it."""
    change = ornt_transform(io_orientation(volume.affine), axcodes2ornt(codes))
    arrays = {
        name: None if getattr(volume, name) is None else apply_orientation(getattr(volume, name), change)
        for name in ON_GRID
    }
    data = np.stack([apply_orientation(channel, change) for channel in volume.data])
    affine = volume.affine @ inv_ornt_aff(change, volume.shape)
    affine = affine.astype(np.float32).astype(float)  # as a header keeps it
    return volume.with_(data=data, affine=affine, **arrays)


def _turned_back(array, volume, codes):
    change = ornt_transform(axcodes2ornt(codes), io_orientation(volume.affine))
    return apply_orientation(array, change)


@pytest.mark.parametrize("shape", [(10, 11, 12), (9, 12, 7)])
@pytest.mark.parametrize("factor", [2.0, 0.5, 1.5, 3.0])
def test_ties_of_nearest_neighbours_do_not_depend_on_the_file(shape, factor):
    """Even ratios put new centres midway between old ones."""
    rng = np.random.default_rng(0)
    scan = Volume(
        data=rng.random((1, *shape)), affine=np.diag([1.2, 1.2, 1.2, 1]), lesion=rng.random(shape) > 0.5
    )
    results, returned = [], []
    for codes in CODES:
        own = _stored(scan, codes)
        small = Resample(spacing=[1.2 * factor] * 3)(Orient()(own))
        results.append(small.lesion)
        returned.append(_turned_back(back(small.lesion, small, own, order=0), scan, codes))
        direct = Resample(spacing=[1.2 * factor] * 3)(own)
        np.testing.assert_array_equal(Orient()(direct).lesion, small.lesion)
    for result, again in zip(results, returned, strict=True):
        np.testing.assert_array_equal(result, results[0])
        np.testing.assert_array_equal(again, returned[0])
    assert 0 < returned[0].sum() < returned[0].size


def test_oblique_grids_too():
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3) * 0.9 + 0.1 * turn
    labels = (np.indices((9, 8, 7)).sum(axis=0) % 5).astype(np.uint8)
    scan = Volume(data=labels[None], affine=affine)
    target = affine @ np.diag([0.5, 0.5, 0.5, 1])
    expected = resample_to(labels, affine, target, (18, 16, 14), order=0)
    for codes in CODES:
        own = _stored(scan, codes)
        found = resample_to(own.data[0].astype(np.uint8), own.affine, target, (18, 16, 14), order=0)
        np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orientations")
    options = {"contrast": "flair", "spacing": 8.0, "workers": 1, "progress": False}
    healthy = Cohort.read(write_cohort(folder / "healthy", cases=6, seed=1, **options))
    sick = Cohort.read(
        write_cohort(
            folder / "sick", cases=1, lesions=1.0, seed=2, sources=("hyper",), shapes=("ellipsoid",), radius_mm=(14.0, 18.0),
            count=(1, 1), **options,
        )
    )  # fmt: skip
    # steps of 8/3 voxels on the way back: every third one ends midway between two, but for the
    # rounding of a third
    settings = {"prepare.size": 64, "prepare.spacing": [8, 3, 3], "postprocess.erode_mm": 4.0}
    method = Method.load("pca", settings)
    return Detector.fit(method, healthy, out=folder / "model", workers=1), sick[0].read()


@pytest.mark.parametrize("masked", [False, True])
def test_a_scan_has_one_map_whatever_the_order_of_its_axes(phantoms, masked):
    detector, scan = phantoms
    keep = (
        slice(None),
        *(slice(length - length % 3) for length in scan.shape),
    )  # so that some voxels lie midway
    scan = scan.with_(data=scan.data[keep], mask=scan.mask[keep[1:]] if masked else None, lesion=None)
    first = detector.detect(scan)
    assert first.map.data.max() > 0
    for codes in CODES:
        own = _stored(scan, codes)
        found = detector.detect(own)
        np.testing.assert_allclose(_turned_back(found.map.data[0], scan, codes), first.map.data[0], atol=1e-6)
        np.testing.assert_array_equal(_turned_back(found.mask, scan, codes), first.mask)
        assert found.score == pytest.approx(first.score, abs=1e-6)
        assert found.p == first.p
        assert [each.voxels for each in found.components] == [each.voxels for each in first.components]


SLICE = np.random.default_rng(0).random((12, 16)).astype(np.float32)
"""Rows and columns of a picture, as it is looked at."""


def _as_slice(picture, plane):
    """A picture as NIfTI programs store it: first axis to the right of the patient or forwards,
    second one upwards or forwards.
    """
    flipped = picture.T[::-1, ::-1]
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    return Volume(data=np.expand_dims(flipped, axis)[None], affine=np.diag([2.0, 2, 2, 1]))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_slice_is_a_picture_whichever_axis_is_across_it(plane):
    volume = _as_slice(SLICE, plane)
    turned = Orient()(volume)
    np.testing.assert_array_equal(turned.data[0, 0], SLICE)
    np.testing.assert_array_equal(back(turned.data, turned, volume), volume.data)
    for to in ("RAS", "LPI"):  # an order asked for is of volumes
        np.testing.assert_array_equal(Orient(to=to)(volume).data, turned.data)
    found = of_volume(volume)
    assert found.shape["median"] == (1, 12, 16)
    assert found.kind == "image"


def test_every_order_of_a_slices_axes_is_the_same_picture():
    for plane in ("axial", "coronal", "sagittal"):
        scan = _as_slice(SLICE, plane)
        for codes in CODES:
            np.testing.assert_array_equal(Orient()(_stored(scan, codes)).data[0, 0], SLICE)
