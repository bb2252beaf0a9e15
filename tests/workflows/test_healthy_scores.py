"""Case scores that are held against healthy cases, from the fit to the p-value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import CalibrationError
from aberra.method import Method
from small_scans import cohort, scan

QUICK = {"training.steps": 2, "training.batch_size": 4, "prepare.size": 16, "model.network.width": 4}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A detector whose case score has seen no healthy case yet, and the cohort's manifest."""
    folder = tmp_path_factory.mktemp("healthy")
    manifest = Cohort.read(cohort(folder, 6, split=True))
    method = Method.load("vae-dose", QUICK)
    return Detector.fit(method, manifest, out=folder / "model", workers=1, calibrated=False), manifest


def test_a_score_that_waits_for_healthy_cases_asks_for_a_folder(learnt):
    detector, manifest = learnt
    assert detector.analyse(scan(9)).score == 0
    with pytest.raises(CalibrationError, match="give --out FOLDER"):
        detector.calibrate(manifest)


def test_what_it_finds_is_saved_with_the_method(learnt, tmp_path):
    detector, manifest = learnt
    ready = detector.calibrate(manifest, out=tmp_path / "ready")
    healthy = Detector.load(tmp_path / "ready").method.case["score"]["healthy"]
    assert {*healthy} == {"l1", "kl", "elbo", "entropy"}
    assert len({len(values) for values in healthy.values()}) == 1
    assert ready.analyse(scan(9)).score > 0
    assert ready.calibration.n_cases == 3
    again = ready.calibrate(manifest)  # nothing is left to find: it stays where it is
    assert again.folder == ready.folder
    assert again.method == ready.method


def test_a_likelihood_ratio_to_a_background_is_asked_of_two_models(learnt, tmp_path):
    _, manifest = learnt
    method = Method.load("vae", {key: each for key, each in QUICK.items() if "network" not in key})
    member = {"name": "vae", "latent": 4, "network": {"width": 4}}
    score = {"name": "likelihood-ratio", "against": "background"}
    method = replace(
        method, model={"name": "with-background", "member": member}, case={"score": score, "reduce": "mean"}
    )
    detector = Detector.fit(method, manifest, out=tmp_path / "model", workers=1)
    assert isinstance(detector.method.case["score"]["level"], float)
    loaded = Detector.load(tmp_path / "model")
    assert loaded.analyse(scan(9)).score == detector.analyse(scan(9)).score
    assert min(detector.calibration.scores) >= 0
