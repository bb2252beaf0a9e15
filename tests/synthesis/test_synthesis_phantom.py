from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.errors import ConfigError, OutputError
from aberra.synthesis import (
    ARTEFACTS,
    CONTRASTS,
    SHIFTS,
    artefact,
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
    with pytest.raises(ConfigError, match="severity"):
        artefact("blur", scan, severity=2)
