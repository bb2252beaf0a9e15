from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_closing, binary_erosion, binary_fill_holes

from aberra.cohort.fingerprint import of_volume
from aberra.foreground import BRAIN_ML, cut_away, nonzero
from aberra.prepare import deepbet
from aberra.prepare.brain_mask import BrainMask
from aberra.prepare.orient import Orient
from aberra.prepare.recipe import Recipe
from aberra.volume import Volume
from heads import whole_head

DATA = Path(os.environ.get("ABERRA_DATA", "../shared/data"))
HEADS = DATA / "ixi" / "heads"


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("contrast", ["t1", "flair", "t2"])
def test_the_brain_of_a_head_is_found_and_said(contrast):
    head, brain = whole_head(contrast)
    found = BrainMask()(head)
    assert found.provenance["brain_mask"] == "deepbet"
    assert _dice(found.mask, brain) > 0.93
    assert not found.data[0][~found.mask].any()
    assert found.provenance["warnings"] == []


def test_orientation_does_not_matter_and_a_scan_is_looked_at_once(monkeypatch):
    head, _ = whole_head()
    expected = deepbet.extract(head)
    monkeypatch.setattr(deepbet, "_extract", lambda *_: pytest.fail("looked at again"))
    turned = Orient(to="PIR")(head)
    back = Orient(to="RAS")(turned.with_(mask=deepbet.extract(turned)))
    np.testing.assert_array_equal(back.mask, expected)


def test_the_same_scan_gives_the_same_mask():
    head, _ = whole_head()
    first = deepbet.extract(head)
    deepbet._masks.clear()
    np.testing.assert_array_equal(deepbet.extract(head), first)


def test_no_warning_of_torchscript_leaks():
    deepbet._network.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        deepbet._network("bbox_model.pt", "cpu")
    assert said == []


def test_a_scan_without_contrast_has_no_brain():
    head, _ = whole_head()
    assert not deepbet.extract(head.with_(data=np.full_like(head.data, 7))).any()
    assert not deepbet.extract(head.with_(data=np.zeros_like(head.data))).any()


def _never(monkeypatch):
    monkeypatch.setattr(deepbet, "extract", lambda *_: pytest.fail("deepbet ran"))


def test_a_given_mask_and_a_stripped_scan_go_before(monkeypatch):
    _never(monkeypatch)
    head, brain = whole_head()
    given = BrainMask()(head.with_(mask=brain))
    assert given.provenance["brain_mask"] == "given"
    np.testing.assert_array_equal(given.mask, brain)
    stripped = BrainMask()(head.with_(data=head.data * brain))
    assert stripped.provenance["brain_mask"] == "nonzero"
    np.testing.assert_array_equal(stripped.mask, brain)
    core = binary_erosion(brain, iterations=2)  # fluid at the rim, as on T1
    dark = BrainMask()(head.with_(data=head.data * np.where(core, 1, 0.02 * brain).astype(np.float32)))
    assert dark.provenance["brain_mask"] == "nonzero"
    np.testing.assert_array_equal(dark.mask, brain)


def _softened(head, spacing=1.0):
    """Air zeroed, the outermost voxels dark, as where the skin fades; voxels smaller by a share."""
    inside = head.data[0] > 0.1 * head.data.max()
    inside = binary_fill_holes(binary_closing(inside, iterations=2))
    dark = inside & ~binary_erosion(inside)
    data = head.data[0] * inside * np.where(dark, 0.05, 1).astype(np.float32) + 0.01 * inside
    affine = head.affine @ np.diag([spacing] * 3 + [1])
    return head.with_(data=data[None], affine=affine)


def test_a_head_of_a_brains_size_is_no_brain(monkeypatch):
    asked = []
    monkeypatch.setattr(
        deepbet, "extract", lambda volume, _: asked.append(volume) or np.ones(volume.shape, bool)
    )
    head, _ = whole_head()
    small = _softened(head, 0.7)  # a scalp over a dark skull
    whole = _softened(head)
    part = whole.with_(data=whole.data[:, 35:])
    for volume in (whole, small, part):
        assert not cut_away(volume.data[0], nonzero(volume.data))
        assert BrainMask()(volume).provenance["brain_mask"] == "deepbet"
    sizes = [nonzero(each.data).sum() * each.voxel_mm3 / 1000 for each in (small, part)]
    assert all(BRAIN_ML[0] <= size <= BRAIN_ML[1] for size in sizes)
    assert len(asked) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.with_(data=head.data * 2 - 1000),  # Hounsfield units
        lambda head: head.with_(channels=("ct",)),
        lambda head: head.with_(provenance={"dicom": {"modality": "CT"}}),
        lambda head: head.with_(provenance={"path": "/scans/07_CT.nii.gz"}),
        lambda head: head.with_(affine=head.affine @ np.diag([0.4, 0.4, 0.4, 1])),  # a crop of 75 mm
        lambda head: head.with_(data=head.data[:, :, :, 30:35]),  # a slab
        lambda head: head.with_(data=head.data[:, :, :, 30:31]),  # an image
    ],
)
def test_what_is_no_mr_head_is_left_to_the_other_rules(monkeypatch, change):
    _never(monkeypatch)
    head, _ = whole_head()
    assert BrainMask()(change(head)).provenance["brain_mask"] in {"otsu", "all"}


def test_a_few_low_values_do_not_make_a_ct():
    head, _ = whole_head()
    data = head.data.copy()
    data[0, 0, 0, :5] = -400
    assert BrainMask()(head.with_(data=data)).provenance["brain_mask"] == "deepbet"


def test_a_speck_is_no_brain(monkeypatch):
    head, brain = whole_head()
    speck = brain & (np.arange(brain.shape[0]) < 12).reshape(-1, 1, 1)
    assert 0 < speck.sum() * head.voxel_mm3 < 100_000
    monkeypatch.setattr(deepbet, "extract", lambda *_: speck)
    assert BrainMask()(head).provenance["brain_mask"] == "otsu"
    assert BrainMask(method="deepbet")(head).provenance["brain_mask"] == "strip"


def test_an_unlikely_size_is_said_and_not_refused():
    head, brain = whole_head()
    small = head.with_(affine=head.affine @ np.diag([0.7, 0.7, 0.7, 1]))
    found = BrainMask()(small)
    assert found.provenance["brain_mask"] == "deepbet"
    assert "ml, a brain has 700 to 2200 ml" in found.provenance["warnings"][0]
    assert _dice(found.mask, brain) > 0.9


def test_a_recipe_places_its_networks_and_shows_what_it_judges():
    head, brain = whole_head()
    recipe = Recipe.from_config([{"name": "orient"}, {"name": "brain-mask"}])
    mark = recipe.fingerprint
    recipe.place("cpu")
    assert recipe.steps[1].device == "cpu"
    assert recipe.fingerprint == mark
    seen = recipe.view(head)
    assert seen.orientation == head.orientation
    assert _dice(seen.mask, brain) > 0.93
    stripped = head.with_(data=head.data * brain)
    assert recipe.view(stripped) is stripped


@pytest.mark.data
@pytest.mark.skipif(not HEADS.is_dir(), reason=f"no real scans in {HEADS}")
def test_real_stripped_brains_keep_all_that_is_left(monkeypatch):
    _never(monkeypatch)
    for path in sorted(HEADS.parent.glob("*_t1.nii.gz"))[::8]:
        scan = Volume.read(path, channel="t1")
        assert BrainMask()(scan).provenance["brain_mask"] == "nonzero"
        assert of_volume(scan).skull_stripped


@pytest.mark.data
@pytest.mark.skipif(not HEADS.is_dir(), reason=f"no real scans in {HEADS}")
def test_real_heads_agree_with_their_masks():
    scores = []
    for path in sorted(HEADS.glob("*_t1.nii.gz"))[:4]:
        truth = Volume.read(str(path).replace("_t1", "_mask")).data[0] > 0
        found = BrainMask()(Volume.read(path, channel="t1"))
        assert found.provenance["brain_mask"] == "deepbet"
        scores.append(_dice(found.mask, truth))
    assert np.mean(scores) > 0.95
