from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import ConfigError, OutputError
from aberra.files import config_hash
from aberra.synthesis import (
    ARTEFACTS,
    CONTRASTS,
    SHIFTS,
    artefact,
    draw_channels,
    draw_phantom,
    lesion_cohort,
    render,
    shift,
    write_cohort,
)
from aberra.synthesis.fields import diffeomorphism


def test_deformations_do_not_fold():
    field = diffeomorphism((24, 28, 26), 6.0, 30.0, 5.0, np.random.default_rng(0)) / 6.0
    jacobian = np.stack([np.stack(np.gradient(part)) for part in field]) + np.eye(3).reshape(3, 3, 1, 1, 1)
    determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
    assert np.abs(field).max() > 0.3
    assert determinant.min() > 0


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_phantoms_repeat_byte_for_byte_and_differ_between_cases(contrast):
    first, again, other = (render(draw_phantom(3, case, contrast), 6.0) for case in (1, 1, 2))
    assert first.data.tobytes() == again.data.tobytes()
    assert first.content_hash() != other.content_hash()
    assert (first.data[0][~first.mask] == 0).all()
    assert (first.data[0][first.mask] > 0).all()
    assert (
        1.0e6 < first.mask.sum() * first.voxel_mm3 < 2.6e6
    )  # a brain has one to two litres, and this one its sulci


def test_tissue_contrast_follows_the_sequence():
    brightness = {}
    for contrast in ("flair", "t1", "t2"):
        scan = render(draw_phantom(0, 0, contrast), 4.0)
        drawn = draw_phantom(0, 0, contrast)
        brightness[contrast] = drawn.means
        low, high = np.percentile(scan.data[0][scan.mask], [2, 98])
        assert high > 1.5 * low
    csf, gm, wm = brightness["flair"]
    assert csf < wm < gm
    csf, gm, wm = brightness["t1"]
    assert csf < gm < wm
    csf, gm, wm = brightness["t2"]
    assert wm < gm < csf


def test_channels_share_the_head_and_nothing_of_the_acquisition():
    drawn = draw_channels(4, 1, "t1, t2,flair")
    scan = render(drawn, 6.0)
    assert scan.channels == ("t1", "t2", "flair")
    alone = render(draw_phantom(4, 1, "t1"), 6.0)
    assert scan.data[0].tobytes() == alone.data[0].tobytes()
    assert scan.mask.tobytes() == alone.mask.tobytes()
    anatomy = ("rotation_deg", "scale", "shift_mm", "warp_mm", "folding", "age", "sex", "seed")
    for name in anatomy:
        assert len({getattr(each, name) for each in drawn}) == 1
    for name in ("gain", "noise", "bias"):
        assert len({getattr(each, name) for each in drawn}) == 3
    # where T1 shows fluid dark, T2 shows it bright, voxel by voxel
    t1, t2, _ = (channel[scan.mask] for channel in scan.data)
    assert np.corrcoef(t1, t2)[0, 1] < -0.5
    assert draw_channels(4, 1, "t1") == (draw_phantom(4, 1, "t1"),)
    more = render(draw_channels(4, 1, "t1,t2"), 6.0)
    assert more.data.tobytes() == scan.data[:2].tobytes()


@pytest.mark.parametrize(
    ("contrast", "drawn", "total", "voxels"),
    [("flair", "202b4ec4e6114c58", 3233308.8, 3637), ("random", "eb58443c6b1aede7", 3313137.6, 3731)],
)
def test_one_channel_is_what_it_was_before_there_were_several(contrast, drawn, total, voxels):
    (alone,) = draw_channels(5, 0, contrast)
    scan = render(alone, 8.0)
    assert config_hash(asdict(alone)) == drawn
    assert scan.mask.sum() == voxels
    assert scan.data.sum(dtype=np.float64) == pytest.approx(total, rel=1e-5)


def test_noise_differs_between_channels_of_the_same_contrast():
    first, *_ = draw_channels(0, 0, "t1")
    quiet = replace(first, texture=0.0, bias=0.0, slice_blur_mm=0.0, gain=1e5)
    same = render([quiet, quiet], 6.0)
    clean = render(replace(quiet, noise=0.0), 6.0).data[0][same.mask]
    one, two = (channel[same.mask] - clean for channel in same.data)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


def test_a_cohort_of_several_channels_has_one_lesion_in_all(tmp_path):
    options = {
        "cases": 2, "lesions": 1, "spacing": 6, "seed": 2, "sources": ["tumour"], "shapes": ["ellipsoid"],
        "count": (1, 1), "radius_mm": (16, 20), "workers": 1, "progress": False,
    }  # fmt: skip
    several = write_cohort(tmp_path / "several", contrast="t1,t2,flair", **options)
    alone = Cohort.read(write_cohort(tmp_path / "alone", contrast="t1", **options))
    rows = list(csv.DictReader(several.read_text().splitlines()))
    assert list(rows[0])[2:7] == ["t1", "t2", "flair", "mask", "lesion"]
    for case, one in zip(Cohort.read(several), alone, strict=True):
        assert case.channels["t1"].read_bytes() == one.channels["t1"].read_bytes()
        assert case.lesion.read_bytes() == one.lesion.read_bytes()
        record = json.loads((several.parent / f"{case.case}.json").read_text())
        assert [each["contrast"] for each in record["more_channels"]] == ["t2", "flair"]
        assert "more_channels" not in json.loads((tmp_path / "alone" / f"{case.case}.json").read_text())


def test_a_shift_bends_each_channel_by_its_own_scale():
    scan = render(draw_channels(0, 0, "t1,t2"), 6.0)
    louder = scan.with_(data=scan.data * np.float32([[[[1]]], [[[8]]]]))
    for change in (
        lambda volume: shift("contrast", volume, seed=3),
        lambda volume: artefact("blur", volume, seed=3),
        lambda volume: artefact("noise", volume, seed=3),
    ):
        plain, loud = change(scan).data, change(louder).data
        np.testing.assert_allclose(loud[1], 8 * plain[1], rtol=1e-3, atol=1e-2)


def test_a_cohort_is_complete_and_independent_of_its_size(tmp_path):
    small = write_cohort(
        tmp_path / "small", cases=4, lesions=0.5, spacing=8, seed=5, workers=1, progress=False
    )
    large = write_cohort(
        tmp_path / "large", cases=6, lesions=0.5, spacing=8, seed=5, workers=1, progress=False
    )
    cohort = Cohort.read(small)
    assert [case.label for case in cohort].count(1) == 2
    rows = list(csv.DictReader(small.read_text().splitlines()))
    assert set(rows[0]) == {"case", "patient", "flair", "mask", "lesion", "label", "site", "age", "sex"}
    for case in cohort:
        assert (case.lesion is not None) == (case.label == 1)
        if case.lesion is not None:
            assert case.read().lesion.any()
            assert json.loads((small.parent / f"{case.case}.json").read_text())["lesions"]
    same = "phantom-0001_flair.nii.gz"
    assert (small.parent / same).read_bytes() == (large.parent / same).read_bytes() or cohort[1].label == 1


def test_an_interrupted_cohort_is_completed_and_another_one_refused(tmp_path):
    options = {"cases": 3, "spacing": 10, "seed": 1, "workers": 1, "progress": False}
    write_cohort(tmp_path / "c", **options)
    kept = tmp_path / "c" / "phantom-0000_flair.nii.gz"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "c" / "phantom-0002.json").unlink()
    (tmp_path / "c" / "manifest.csv").unlink()
    write_cohort(tmp_path / "c", **options)
    assert kept.stat().st_mtime_ns == stamp
    assert len(Cohort.read(tmp_path / "c" / "manifest.csv")) == 3
    with pytest.raises(OutputError, match="other settings"):
        write_cohort(tmp_path / "c", **(options | {"seed": 2}))
    with pytest.raises(ConfigError, match="Did you mean 'hyper'"):
        write_cohort(tmp_path / "d", **options, sources=["hyperr"])


def test_lesions_are_planted_into_own_scans_without_touching_them(tmp_path):
    manifest = write_cohort(tmp_path / "mine", cases=4, spacing=6, seed=1, workers=1, progress=False)
    before = {path.name: path.read_bytes() for path in manifest.parent.glob("*.nii.gz")}
    planted = Cohort.read(
        lesion_cohort(Cohort.read(manifest), tmp_path / "new", lesions=0.5, workers=1, progress=False)
    )
    assert sorted(case.label for case in planted) == [0, 0, 1, 1]
    assert {path.name: path.read_bytes() for path in manifest.parent.glob("*.nii.gz")} == before
    for case, source in zip(planted, Cohort.read(manifest), strict=True):
        changed = (case.read().data != source.read().data).any()
        assert changed == (case.label == 1)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_artefacts_repeat_and_grow_with_severity(name):
    scan = render(draw_phantom(0, 0), 6.0)
    mild, again, strong = (artefact(name, scan, severity=severity, seed=4) for severity in (0.2, 0.2, 0.9))
    assert mild.data.tobytes() == again.data.tobytes()
    change = [np.abs(each.data - scan.data).mean() for each in (mild, strong)]
    assert 0 < change[0] < change[1]
    assert artefact(name, scan, severity=0) is scan
    assert (strong.data[0][~scan.mask] == 0).all()


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_repeat_and_keep_the_order_of_tissues(name):
    scan = render(draw_phantom(0, 0), 6.0)
    first, again = (shift(name, scan, severity=0.5, seed=4) for _ in range(2))
    assert first.data.tobytes() == again.data.tobytes()
    assert first.data.shape != scan.data.shape or (first.data != scan.data).any()
    if name in {"contrast", "gain"}:
        where = np.argsort(scan.data[0][scan.mask], kind="stable")
        assert (np.diff(first.data[0][scan.mask][where]) >= 0).all()


def test_unknown_names():
    scan = render(draw_phantom(0, 0), 10.0)
    with pytest.raises(ConfigError, match="Did you mean 'motion'"):
        artefact("motionn", scan)
    with pytest.raises(ConfigError, match="unknown contrast"):
        draw_phantom(0, 0, "pd")
    with pytest.raises(ConfigError, match="unknown contrast 'pd'"):
        draw_channels(0, 0, "t1,pd")
    with pytest.raises(ConfigError, match="once"):
        draw_channels(0, 0, "t1,t1")
    with pytest.raises(ConfigError, match="severity"):
        artefact("blur", scan, severity=2)


def test_phantoms_of_a_site_say_so_and_those_of_none_are_what_they_were(tmp_path):
    options = {"cases": 1, "spacing": 10.0, "workers": 1, "progress": False}
    (one,), (plain,) = (
        Cohort.read(write_cohort(tmp_path / name, **options, **site))
        for name, site in (("a", {"site": "north"}), ("b", {}))
    )
    assert (one.case, one.groups["site"]) == ("north-0000", "north")
    assert (plain.case, plain.groups["site"]) == ("phantom-0000", "phantom")
    np.testing.assert_array_equal(one.read().data, plain.read().data)
    about = [json.loads((tmp_path / name / ".aberra.json").read_text())["plan"] for name in "ab"]
    assert about[0]["site"] == "north"
    assert "site" not in about[1]
    with pytest.raises(ConfigError, match="site 'no/where'"):
        write_cohort(tmp_path / "c", site="no/where", **options)
