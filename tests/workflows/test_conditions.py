"""Age and sex from the manifest to the model, in training and in use."""

from __future__ import annotations

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import OutputError, TrainingError
from aberra.method import Method
from aberra.workflows.detect import detect_cohort
from small_scans import scan

SMALL = {
    "prepare.size": 16,
    "model.network.width": 8,
    "model.network.multipliers": [1, 2],
    "training.steps": 3,
    "training.batch_size": 2,
    "score.restore.steps": 2,
}


def _manifest(folder, ages=("30", "60", "", "45"), column="age"):
    rows = [f"case,image,label,sex,split,{column}"]
    for number, age in enumerate(ages):
        if not (folder / f"{number}.nii.gz").exists():
            scan(number).write(folder / f"{number}.nii.gz")
        rows.append(
            f"c{number},{number}.nii.gz,0,{'fm'[number % 2]},{'train' if number < 3 else 'val'},{age}"
        )
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return Cohort.read(folder / "m.csv")


def _fit(cohort, out, **settings):
    method = Method.load("anoddpm", SMALL | {"model.conditions": ["age", "sex"]} | settings)
    return Detector.fit(method, cohort, out=out, workers=1, device="cpu")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditions")
    return _fit(_manifest(folder), folder / "model"), folder


def _repainted(detector):
    """The detector with weights all of which matter, the last layers' too, which are zero at first."""
    import torch

    torch.manual_seed(0)
    for weight in detector.model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return detector


def test_a_saved_detector_is_told_the_manifests_values_and_says_what_is_unknown(fitted):
    _, folder = fitted
    detector = _repainted(Detector.load(folder / "model", device="cpu"))
    assert detector.conditions == ("age", "sex")
    young, old, unknown = (
        detector.analyse(scan(0).with_(covariates=known)).map
        for known in ({"age": "20", "sex": "f"}, {"age": 80, "sex": "f"}, {})
    )
    assert not np.array_equal(young, old)
    assert not np.array_equal(young, unknown)
    known = detector.detect(scan(0).with_(covariates={"age": "20", "sex": "f"})).warnings
    assert not any("asked without" in warning for warning in known)
    assert any(
        "sex unknown" in each for each in detector.detect(scan(0).with_(covariates={"age": 20})).warnings
    )
    assert any("age and sex unknown" in each for each in detector.detect(scan(0)).warnings)


def test_another_age_is_another_result(fitted, tmp_path):
    detector, _ = fitted
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = _manifest(tmp_path / "one")
    assert detect_cohort(detector, first, out=tmp_path / "out", report=False).done == 4
    assert detect_cohort(detector, first, out=tmp_path / "out", report=False).kept == 4
    with pytest.raises(OutputError, match="results of another input"):
        detect_cohort(
            detector, _manifest(tmp_path / "one", ("31", "60", "", "45")), out=tmp_path / "out", report=False
        )


def test_a_value_that_is_none_fails_its_case_and_no_other(fitted, tmp_path):
    detector, _ = fitted
    cohort = _manifest(tmp_path)
    cohort.cases[1].groups["sex"] = "2"
    found = detect_cohort(detector, cohort, out=tmp_path / "out", report=False)
    assert (found.done, list(found.failed)) == (3, ["c1"])
    assert "sex '2': expected f or m" in found.failed["c1"]


def test_other_ages_are_another_fit_and_a_column_that_is_not_there_is_missed(fitted, tmp_path):
    _, folder = fitted
    changed = _manifest(folder, ("35", "60", "", "45"))
    with pytest.raises(OutputError, match="finished detector already"):
        Detector.fit(
            Method.load("anoddpm", SMALL | {"model.conditions": ["age", "sex"]}),
            changed,
            out=folder / "model",
            resume=True,
            workers=1,
            device="cpu",
        )
    with pytest.raises(TrainingError, match="learns from age, but no training case has any"):
        _fit(_manifest(tmp_path, column="years"), tmp_path / "other")


def test_an_editor_of_healthy_people_needs_their_age_only(tmp_path):
    (tmp_path / "editor.toml").write_text(
        'base = "ddim-guided"\ntitle = "Editor of ages"\nlearns_from = "healthy"\n'
        '[model]\nguides = ["age"]\n'
        '[score]\nname = "residual"\n[score.restore]\nname = "partial-diffusion"\n'
    )
    method = Method.load(tmp_path / "editor.toml", SMALL | {"model.guide_width": 8})
    made = Detector.fit(method, _manifest(tmp_path), out=tmp_path / "editor", workers=1, device="cpu")
    assert made.model.guide_names() == ("age",)
    assert made.model.covariates == ("age",)
