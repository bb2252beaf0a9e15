from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from aberra.prepare import brain_net
from aberra.prepare.grid import reoriented
from aberra.synthesis import anatomy as a
from aberra.synthesis.anatomy import Anatomy, held_out
from aberra.synthesis.heads import draw_head, rendered

ANATOMY = Path(os.environ.get("ABERRA_DATA", "../shared/data")) / "anatomy"
SPACING = 2.0


@pytest.fixture(scope="module", params=["flair", "t2"])
def head(request):
    """A drawn head of 6 mm slices that was not learnt from, its brain, and the distance from that."""
    if not ANATOMY.is_dir():
        pytest.skip(f"no label maps at {ANATOMY}")
    path = held_out(ANATOMY)[2]
    drawn = draw_head(np.random.default_rng(5), request.param)
    drawn = replace(drawn, slices=(0, 6.0, 6.0, 0.3), leaks=0, mirror=False)
    volume, structures = rendered(drawn, Anatomy.read(path), SPACING, whole=True)
    brain = binary_fill_holes((structures > 0) & (structures < a.SKULL))
    return volume, brain, distance_transform_edt(~brain) * SPACING


def _upper(brain):
    planes = np.flatnonzero(brain.any(axis=(1, 2)))
    upper = np.zeros_like(brain)
    upper[int(planes[0] + 0.7 * (planes[-1] - planes[0])) :] = True
    return upper


def test_scalp_at_the_vertex_is_left_out(head):
    volume, brain, out = head
    scalp = _upper(brain) & (out > 0) & (out < 14)
    found = brain_net.trimmed(volume.data[0], volume.affine, brain | scalp)
    assert (found & scalp).sum() < 0.35 * scalp.sum()
    assert (found & brain).sum() > 0.98 * brain.sum()


def test_a_mask_that_is_right_but_for_its_border_stays(head):
    volume, _, out = head
    mask = out < 2
    found = brain_net.trimmed(volume.data[0], volume.affine, mask)
    assert found.sum() > 0.995 * mask.sum()


def test_axes_do_not_matter(head):
    volume, brain, out = head
    mask = brain | (_upper(brain) & (out < 14))
    expected = brain_net.trimmed(volume.data[0], volume.affine, mask)
    turned, affine = reoriented(volume.data[0], volume.affine, "RIA")
    found = brain_net.trimmed(turned, affine, reoriented(mask, volume.affine, "RIA")[0])
    back, _ = reoriented(found, affine, "SPL")
    assert (back != expected).mean() < 1e-4


@pytest.mark.parametrize(("lowest", "thick", "left"), [(60, 20, False), (60, 4, True), (2, 20, True)])
def test_only_what_is_far_beyond_and_high_up_is_cut(monkeypatch, lowest, thick, left):
    shape = (100, 120, 100)
    affine = np.array([[0, 0, -2.0, 0], [0, -2.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])  # S, P, L
    brain = np.zeros(shape, dtype=bool)
    brain[10:90, 20:100, 10:90] = True
    bump = np.zeros(shape, dtype=bool)
    bump[lowest : lowest + 20, 100 : 100 + thick // 2, 30:60] = True

    def seen(scan, own, grid, device):
        del scan, device
        return brain_net.resample_to(brain.astype(np.float32), own, grid, brain_net.SIZE)

    monkeypatch.setattr(brain_net, "likelihood", seen)
    found = brain_net.trimmed(np.ones(shape, np.float32), affine, brain | bump)
    assert (found & bump).sum() > 0.9 * bump.sum() if left else (found & bump).sum() < 0.2 * bump.sum()
    assert (found & brain).sum() > 0.99 * brain.sum()


def test_the_unit_of_intensities_does_not_matter():
    x = np.random.default_rng(0).gamma(2, size=(8, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(brain_net.scaled(1000 * x), brain_net.scaled(x), rtol=1e-5)
    assert not brain_net.scaled(np.zeros((2, 2, 2), np.float32)).any()
