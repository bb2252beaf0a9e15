from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from aberra.errors import InputError
from aberra.prepare.brain_mask import BrainMask
from aberra.prepare.orient import Orient
from aberra.synthesis.anatomy import SKULL, Anatomy
from aberra.synthesis.heads import draw_head, rendered
from aberra.volume import Volume


def _head(spacing=3.0, seed=0):
    """A brain of 62 × 76 × 60 mm in fluid, with blood, a skull open below, a scalp with an eye in
    it and a neck, in HU, RAS.
    """
    shape = (60, 76, 76)
    place = (np.indices(shape) - np.array([30, 38, 44]).reshape(3, 1, 1, 1)) * spacing
    radius = np.sqrt((place**2 / np.array([62, 76, 60]).reshape(3, 1, 1, 1) ** 2).sum(axis=0))
    canal = (np.hypot(place[0], place[1]) < 7) & (place[2] < 0)
    neck = (np.hypot(place[0], place[1]) < 45) & (place[2] < -60)
    hu = np.full(shape, -1000.0)
    hu[neck | (radius < 1.3)] = 45
    skull = (radius >= 1) & (radius < 1.15)
    hu[skull] = 1000
    inside = radius < 1
    hu[inside] = 8
    hu[radius < 0.95] = 34
    hu[np.sqrt(((place - np.array([20, 20, 10]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0)) < 12] = 85
    hu[canal & ~inside & (radius < 1.6)] = 25
    hu += np.random.default_rng(seed).normal(0, 4, shape)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    return Volume(data=hu[None], affine=affine, channels=("ct",)), inside


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_inside_of_the_skull_is_found_whatever_the_orientation():
    head, brain = _head()
    found = BrainMask(method="ct")(head)
    assert found.provenance["brain_mask"] == "ct"
    assert _dice(found.mask, brain) > 0.97
    assert not found.data[0][~found.mask].any()
    turned = Orient(to="PIR")(head.with_(mask=brain))
    again = BrainMask(method="ct")(turned.with_(mask=None))
    assert _dice(again.mask, turned.mask) > 0.97


def test_blood_and_fluid_belong_to_the_brain():
    head, brain = _head()
    found = BrainMask(method="ct")(head).mask
    blood = binary_erosion(head.data[0] > 60) & brain
    assert blood.any()
    assert found[blood].all()


def test_thick_slices_lose_little():
    head, brain = _head()
    thick = head.with_(data=head.data[..., ::2], affine=head.affine @ np.diag([1, 1, 2, 1]))
    assert _dice(BrainMask(method="ct")(thick).mask, brain[..., ::2]) > 0.95


def test_a_stripped_ct_keeps_its_voxels_and_those_of_zero_inside():
    head, brain = _head()
    hu = np.where(brain, head.data[0].round(), 0)
    core = binary_erosion(brain)
    assert (hu[core] == 0).any()
    found = BrainMask(method="ct")(head.with_(data=hu[None])).mask
    assert found[core].all()
    assert not found[~brain].any()


def test_where_bone_encloses_nothing_there_is_no_brain():
    hu = np.full((40, 40, 40), -1000.0)
    hu[5:35, 5:35, 5:20] = 900
    with pytest.raises(InputError, match="foreground"):
        BrainMask(method="ct")(Volume(data=hu[None], affine=np.diag([4.0, 4.0, 4.0, 1.0])))


@pytest.mark.data
@pytest.mark.parametrize("name", ["anat05", "anat25"])
def test_the_brain_of_real_anatomy_is_found(name):
    folder = Path(os.environ.get("ABERRA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    path = folder / "anatomy" / f"{name}.nii.gz"
    if not path.is_file():
        pytest.skip(f"no label map at {path}; set ABERRA_DATA")
    head = draw_head(np.random.default_rng(7), "ct", ["haemorrhage"])
    volume, labels = rendered(head, Anatomy.read(path, whole=True), 2.0, whole=True)
    found = BrainMask(method="ct")(volume.with_(mask=None))
    assert _dice(found.mask, (labels > 0) & (labels < SKULL)) > 0.94
    assert (found.mask & volume.lesion).sum() > 0.97 * volume.lesion.sum()
