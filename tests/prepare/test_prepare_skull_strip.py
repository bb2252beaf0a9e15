from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from aberra.prepare.brain_mask import BrainMask
from aberra.prepare.orient import Orient
from aberra.prepare.skull_strip import _sphere, strip
from aberra.volume import Volume


def _head(seed=0, spacing=3.0):
    """An ellipsoidal brain of 65 mm in dark fluid, skull and a bright scalp, RAS, with a neck."""
    shape = (64, 76, 72)
    place = (np.indices(shape) - np.array([32, 38, 40]).reshape(3, 1, 1, 1)) * spacing
    radius = np.sqrt((place**2 / np.array([62, 76, 60]).reshape(3, 1, 1, 1) ** 2).sum(axis=0))
    data = np.where(radius < 1, 100.0, 0)
    brain = radius < 1
    data[(radius > 1.2) & (radius < 1.35)] = 150
    data[(np.hypot(place[0], place[1]) < 45) & (place[2] < -80)] = 90
    data += np.abs(np.random.default_rng(seed).normal(0, 4, shape))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    return Volume(data=data[None], affine=affine), brain


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_surface_is_a_closed_sphere_turned_outwards():
    vertices, faces, neighbours = _sphere()
    assert len(vertices) - len(faces) * 3 // 2 + len(faces) == 2  # Euler
    assert (np.linalg.det(vertices[faces]) > 0).all()
    assert ((neighbours >= 0).sum(axis=1) >= 5).all()


def test_brain_is_found_in_a_head_whatever_the_orientation():
    head, brain = _head()
    found = BrainMask(method="strip")(head)
    assert _dice(found.mask, brain) > 0.95
    assert not found.data[0][~found.mask].any()
    turned = Orient(to="PIR")(head)
    truth = Orient(to="PIR")(head.with_(mask=brain)).mask
    assert _dice(strip(turned), truth) > 0.95


def test_a_higher_fraction_makes_a_smaller_brain():
    head, _ = _head()
    assert strip(head, 0.8).sum() < strip(head, 0.3).sum()


def test_a_stripped_scan_keeps_its_voxels():
    head, brain = _head()
    stripped = head.with_(data=head.data * brain)
    np.testing.assert_array_equal(BrainMask(method="strip")(stripped).mask, brain)


def test_no_contrast_gives_an_empty_mask():
    assert not strip(Volume(data=np.ones((1, 8, 8, 8)), affine=np.eye(4))).any()


@pytest.mark.data
def test_real_heads_lose_their_skull():
    folder = Path(os.environ.get("ABERRA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    scan = folder / "formats" / "ixi012_t1.nii.gz"
    if not scan.is_file():
        pytest.skip(f"no real scan at {scan}; set ABERRA_DATA")
    volume = Volume.read(scan)
    litres = strip(volume).sum() * volume.voxel_mm3 / 1e6
    assert 1.2 < litres < 1.8
