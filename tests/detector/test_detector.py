"""One trained model, several questions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import CalibrationError, ConfigError, PairingError
from aberra.method import Method
from aberra.synthesis import write_cohort
from heads import whole_head

TINY = {
    "prepare.size": 32,
    "model.latent": 8,
    "model.width": 4,
    "training.steps": 10,
    "training.batch_size": 4,
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ask")
    options = {"contrast": "flair", "spacing": 8.0, "workers": 1, "progress": False}
    cohort = Cohort.read(write_cohort(folder / "train", cases=6, seed=1, **options))
    fresh = Cohort.read(write_cohort(folder / "fresh", cases=3, seed=2, **options))
    Detector.fit(Method.load("vae", TINY), cohort, out=folder / "vae", workers=1)
    return folder / "vae", fresh


def test_a_model_answers_another_methods_question_and_is_saved_as_that(fitted, tmp_path):
    folder, fresh = fitted
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    detector = Detector.load(folder)
    scan = fresh[0].read()
    plain = detector.analyse(scan).map

    detector.calibrate(
        fresh, method=Method.load("vae-sampling-variance", {"score.draws": 3}), out=tmp_path / "asked"
    )

    asked = Detector.load(tmp_path / "asked")
    assert asked.method.name == "vae-sampling-variance"
    assert asked.method.learnt == Detector.load(folder).method.learnt
    assert asked.calibration.n_cases == 3
    for a, b in zip(asked.model.parameters(), Detector.load(folder).model.parameters(), strict=True):
        assert bool((a == b).all())
    assert not np.allclose(asked.analyse(scan).map, plain)
    assert asked.identity["fingerprint"] != Detector.load(folder).identity["fingerprint"]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_questions_that_cannot_be_asked_are_refused(fitted, tmp_path):
    folder, fresh = fitted
    with pytest.raises(ConfigError, match="fit dae itself"):
        Detector.load(folder).calibrate(fresh, method=Method.load("dae"), out=tmp_path / "a")
    with pytest.raises(PairingError, match="ScoresVolume"):
        Detector.load(folder).ask(replace(Method.load("vae", TINY), score={"name": "direct"}))
    with pytest.raises(CalibrationError, match="--out"):
        Detector.load(folder).calibrate(fresh, method=Method.load("vae-combi"))


def test_the_case_score_may_ask_a_second_question(fitted):
    folder, fresh = fitted
    detector = Detector.load(folder)
    scan = fresh[0].read()
    plain = detector.analyse(scan)
    case = {"score": {"name": "term", "of": "kl"}, "reduce": "max"}
    detector.ask(detector.method.overridden({f"case.{key}": value for key, value in case.items()}))
    asked = detector.analyse(scan)
    np.testing.assert_array_equal(asked.map, plain.map)

    import torch

    prepared = detector.recipe(scan)
    x = torch.from_numpy(np.ascontiguousarray(prepared.data))
    with torch.inference_mode():
        _, kl = detector.model.elbo_terms(x.transpose(0, 1))
    used = prepared.mask.any(axis=(1, 2))
    assert asked.score == pytest.approx(float(kl[torch.from_numpy(used)].max()), rel=1e-4)


def test_lesion_free_detectors_are_calibrated_on_lesion_free_slices(fitted, tmp_path):
    options = {
        "contrast": "flair",
        "spacing": 8.0,
        "workers": 1,
        "progress": False,
        "lesions": 1.0,
        "radius_mm": (4.0, 8.0),
    }
    sick = Cohort.read(write_cohort(tmp_path / "sick", cases=4, seed=3, **options))
    learn = sick
    method = Method.load("vae", TINY | {"training.slices": "lesion-free"})
    detector = Detector.fit(method, learn, out=tmp_path / "model", workers=1)
    assert detector.calibration.scores == []
    more = Cohort.read(write_cohort(tmp_path / "more", cases=2, seed=4, **options))
    calibration = detector.calibrate(more, out=tmp_path / "again")
    assert calibration.scores == []
    assert calibration.n_voxels > 0
    with pytest.raises(CalibrationError, match="no healthy case"):
        Detector.load(fitted[0]).calibrate(more, out=tmp_path / "no")


def test_a_head_is_judged_inside_the_brain_and_held_against_stripped_scans_without_its_skull(tmp_path):
    cohort = Cohort.read(
        write_cohort(
            tmp_path / "train", cases=6, seed=1, contrast="flair", spacing=3.0, workers=1, progress=False
        )
    )
    detector = Detector.fit(
        Method.load("intensity"), cohort, out=tmp_path / "model", workers=1, calibrated=False
    )
    detector.calibrate(cohort)
    head, brain = whole_head("flair", seed=1)
    found = detector.detect(head)
    assert found.input["brain_mask"] == "deepbet"
    assert not [
        note for note in found.warnings if "skull" in note or "contrast" in note or "coverage" in note
    ]
    assert (found.map.data[0] > 0)[~binary_dilation(brain, iterations=2)].mean() < 0.01  # the scalp has 0.1

    with_skull = Detector.fit(
        Method.load("intensity", {"prepare.mask": "otsu"}), cohort, out=tmp_path / "skull", workers=1, calibrated=False
    )  # fmt: skip
    with_skull.calibrate(cohort)
    assert any("skull seems present" in note for note in with_skull.detect(head).warnings)


def test_a_detector_learnt_from_heads_knows_them_as_brains(tmp_path):
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"{seed}.nii.gz")
        whole_head("t1", seed=seed)[0].write(paths[-1])
    detector = Detector.fit(
        Method.load("intensity"),
        Cohort.from_paths(paths),
        out=tmp_path / "model",
        workers=1,
        calibrated=False,
    )
    assert detector.fingerprint.has_mask
    assert max(detector.fingerprint.extent_mm["max"]) < 200
    assert (
        detector._shift_warnings(whole_head("t1", seed=7)[0], detector.recipe(whole_head("t1", seed=7)[0]))
        == []
    )
