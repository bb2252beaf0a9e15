"""``site-bias``: classes, scanners, and whether the one tells the other."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import InputError, OutputError, PairingError, TrainingError
from aberra.method import Method
from aberra.workflows.site_bias import site_bias
from small_scans import detector, scan


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Twelve scans of two scanners, one of which is noisy and has the diseased."""
    folder = tmp_path_factory.mktemp("sites")
    rows = ["case,patient,image,label,site"]
    for number in range(12):
        noisy = number % 2
        plain = scan(number)
        noise = np.random.default_rng(number).normal(size=plain.data.shape) * (plain.data > 0)
        plain.with_(data=(plain.data + 0.3 * noisy * noise).astype(np.float32)).write(
            folder / f"s{number}.nii.gz"
        )
        rows.append(f"c{number},p{number},s{number}.nii.gz,{noisy},{'noisy' if noisy else 'clean'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


METHOD = "intensity"


@pytest.fixture(scope="module")
def found(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("bias") / "out"
    return site_bias(Cohort.read(manifest), out=out, method=METHOD, permutations=3)


def test_a_class_that_goes_with_its_scanner_is_said(found):
    assert found.association == found.by_site == 1.0
    assert found.confusion == [
        {"site": "clean", "healthy": 6, "diseased": 0, "unlabelled": 0},
        {"site": "noisy", "healthy": 0, "diseased": 6, "unlabelled": 0},
    ]


def test_the_scanner_is_told_from_its_noise(found):
    rows = {row["name"]: row for row in found.probes}
    assert rows["scanner statistics, as they are"]["accuracy"] == 1.0
    assert rows["scanner statistics, as they are"]["chance"] == 0.5
    assert len(rows) == 4


def test_everything_is_written(found):
    page = (found.folder / "site-bias.html").read_text()
    assert page.count("<svg") == 4  # histograms before and after, and the map twice
    assert "http" not in page.replace("http://www.w3.org", "")
    cases = list(csv.DictReader((found.folder / "cases.csv").read_text().splitlines()))
    assert [row["class"] for row in cases[:2]] == ["healthy", "diseased"]
    assert json.loads((found.folder / "site-bias.json").read_text())["cramers_v"] == 1.0
    drawn = list(csv.DictReader((found.folder / "histograms.csv").read_text().splitlines()))
    sums = {}
    for row in drawn:
        key = row["histogram"], row["site"]
        sums[key] = sums.get(key, 0) + float(row["share"])
    assert len(sums) == 4
    assert all(0.9 < total <= 1.001 for total in sums.values())


def test_the_same_call_writes_the_same_bytes_and_another_is_refused(found, manifest):
    before = (found.folder / "cases.csv").read_bytes()
    site_bias(Cohort.read(manifest), out=found.folder, method=METHOD, permutations=3)
    assert (found.folder / "cases.csv").read_bytes() == before
    with pytest.raises(OutputError, match="other scans or settings"):
        site_bias(Cohort.read(manifest), out=found.folder, method=METHOD, permutations=2)


def test_a_cohort_without_sites_is_refused_before_anything_is_written(manifest, tmp_path):
    with pytest.raises(InputError, match="choose another by --by"):
        site_bias(Cohort.read(manifest), out=tmp_path / "out", by="scanner")
    assert not (tmp_path / "out").exists()


def test_a_model_without_codes_is_refused(manifest, tmp_path):
    plain = detector("intensity", manifest, tmp_path / "model")
    with pytest.raises(PairingError, match="has no code"):
        site_bias(Cohort.read(manifest), out=tmp_path / "out", detector=plain)


def test_a_models_codes_are_probed_too(manifest, tmp_path):
    few = {
        "prepare.size": 16, "model.width": 4, "model.blocks": [1, 1, 1], "model.latent": 8, "training.steps": 2
    }  # fmt: skip
    fitted = Detector.fit(
        Method.load("classifier", few), Cohort.read(manifest), out=tmp_path / "m", workers=1, calibrated=False
    )
    found = site_bias(Cohort.read(manifest), out=tmp_path / "out", detector=fitted, permutations=0)
    last = found.probes[-1]
    assert (last["name"], last["numbers"], last["p"]) == ("the model's codes", 8, None)


def test_a_target_that_nobody_is_of_is_refused_before_a_folder_is_taken(manifest, tmp_path):
    wrong = Method.load("l2i", {"model.target": "noise"})
    with pytest.raises(TrainingError, match=r"model.target=noise: .* there are: clean, noisy"):
        Detector.fit(wrong, Cohort.read(manifest), out=tmp_path / "m", workers=1)
    assert not (tmp_path / "m").exists()
