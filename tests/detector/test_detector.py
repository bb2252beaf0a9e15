"""A detector is a value: one trained model, several questions."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import binary_dilation

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.detector.weights import WEIGHTS
from aberra.errors import CalibrationError, ConfigError, OutputError, PairingError
from aberra.files import file_hash
from aberra.method import Method
from aberra.pretrained import shipped_detectors
from aberra.result import Result
from aberra.synthesis import draw_phantom, render, write_cohort
from aberra.workflows.detect import detect_cohort
from heads import whole_head

TINY = {
    "prepare.size": 32,
    "model.latent": 8,
    "model.network.width": 4,
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

    asked = detector.calibrate(
        fresh, method=Method.load("vae-sampling-variance", {"score.restore.draws": 3}), out=tmp_path / "asked"
    )

    assert detector.method.name == "vae"
    assert detector.analyse(scan).map.tobytes() == plain.tobytes()
    assert asked.folder == tmp_path / "asked"
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
        Detector.load(folder).asking(replace(Method.load("vae", TINY), score={"name": "direct"}))
    with pytest.raises(CalibrationError, match="--out"):
        Detector.load(folder).calibrate(fresh, method=Method.load("vae-combi"))


def test_a_detector_is_a_value(fitted):
    detector = Detector.load(fitted[0])
    for name, part in (("calibration", None), ("folder", None), ("method", Method.load("dae"))):
        with pytest.raises(FrozenInstanceError):
            setattr(detector, name, part)
    copy = detector.with_(calibration=None)
    assert copy.calibration is None
    assert detector.calibration is not None
    assert copy.model is detector.model
    assert copy.method is detector.method


def test_detectors_that_are_not_saved_are_told_apart_by_their_weights(fitted, tmp_path):
    folder, fresh = fitted
    saved = Detector.load(folder)
    one = saved.with_(folder=None)
    assert one.identity == saved.identity | {"name": "vae"}
    model = deepcopy(saved.model)
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    other = one.with_(model=model)
    assert other.calibration == one.calibration
    assert other.identity["fingerprint"] != one.identity["fingerprint"]
    assert other.save(tmp_path / "other").identity["fingerprint"] == other.identity["fingerprint"]

    detect_cohort(one, fresh, out=tmp_path / "results", report=False)
    with pytest.raises(OutputError, match="results of another model"):
        detect_cohort(other, fresh, out=tmp_path / "results", report=False)


def test_saving_returns_the_detector_that_lies_there(fitted, tmp_path):
    detector = Detector.load(fitted[0])
    saved = detector.save(tmp_path / "copy")
    assert (saved.folder, detector.folder) == (tmp_path / "copy", fitted[0])
    assert saved.identity == Detector.load(tmp_path / "copy").identity
    assert saved.identity["name"] == "copy"


def test_weights_that_once_counted_the_steps_of_training_are_read(fitted, tmp_path):
    folder = Detector.load(fitted[0]).save(tmp_path / "former").folder
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"updates": torch.tensor(10)}, folder / WEIGHTS)
    text, now = (folder / "detector.toml").read_text(), file_hash(folder / WEIGHTS)
    (folder / "detector.toml").write_text(text.replace(file_hash(fitted[0] / WEIGHTS), now))
    assert now in (folder / "detector.toml").read_text()
    read = Detector.load(folder).model.state_dict()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("name", sorted(shipped_detectors()))
def test_a_shipped_detector_saved_again_is_the_same(name, tmp_path):
    shipped = Detector.load(name)
    assert shipped.calibration is not None
    copy = shipped.save(tmp_path / name)
    assert copy.identity == shipped.identity == shipped.with_(folder=None).identity | {"name": name}
    for file in ("weights.safetensors", "calibration.json", "fingerprint.json"):
        assert (copy.folder / file).read_bytes() == (shipped.folder / file).read_bytes()


def test_a_shipped_detector_saved_again_gives_the_same_map(tmp_path):
    shipped, scan = Detector.load("flair"), render(draw_phantom(3, 0, "flair"), 6.0)
    assert shipped.runner.grows == shipped.model.grows > 0
    copy = shipped.save(tmp_path / "flair")
    result = Detector.load(copy.folder).detect(scan)
    assert result.map.data.max() > 0
    np.testing.assert_array_equal(result.map.data, shipped.detect(scan).map.data)


def test_the_case_score_may_ask_a_second_question(fitted):
    folder, fresh = fitted
    detector = Detector.load(folder)
    scan = fresh[0].read()
    plain = detector.analyse(scan)
    case = {"score": {"name": "term", "of": "kl"}, "reduce": "max"}
    method = detector.method.overridden({f"case.{key}": value for key, value in case.items()})
    asked = detector.asking(method).analyse(scan)
    np.testing.assert_array_equal(asked.map, plain.map)

    prepared = detector.recipe(scan)
    x = torch.from_numpy(np.ascontiguousarray(prepared.data))
    with torch.inference_mode():
        _, kl = detector.model.elbo_terms(x.transpose(0, 1))
    used = prepared.mask.any(axis=(1, 2))
    assert asked.score == pytest.approx(float(kl[torch.from_numpy(used)].max()), rel=1e-4)


def test_a_classifier_gives_the_case_a_probability(fitted, tmp_path):
    folder, fresh = fitted
    detector, scan = Detector.load(folder), fresh[0].read()
    assert detector.detect(scan).probability is None

    def classify(x):  # 0.2 and 0.8 of all images
        return torch.tensor([0.2, 0.8]).log().expand(len(x), 2)

    detector.model.classify = classify
    method = replace(detector.method, case={"score": {"name": "probability"}, "reduce": "mean"})
    asked = detector.asking(method).with_(calibration=detector.calibration)
    result = asked.detect(scan, case="c")
    assert result.probability == result.score == pytest.approx(0.8)
    result.save(tmp_path / "c")
    assert Result.load(tmp_path / "c").probability == result.probability


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
    calibration = detector.calibrate(more, out=tmp_path / "again").calibration
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
    detector = detector.calibrate(cohort)
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
    with_skull = with_skull.calibrate(cohort)
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
