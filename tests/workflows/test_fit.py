"""A detector's folder: whose it is, what of it may be replaced, and bad cases."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import ConfigError, InputError, ModelError, OutputError
from aberra.files import MARK, RECORD, file_hash, read_mark
from aberra.method import Method
from aberra.output import kind_of
from aberra.prepare import Recipe, prepare_cohort
from small_scans import cohort, detector, scan

SMALL = {
    "prepare.size": 16,
    "model.network.width": 4,
    "model.network.depth": 2,
    "training.steps": 4,
    "training.batch_size": 2,
}


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "data").mkdir()
    return cohort(tmp_path / "data", split=True)


def _spoil(path):
    nib.save(nib.Nifti1Image(np.full((6, 20, 20), np.nan, np.float32), np.eye(4)), path)


def fit(manifest, out, **options):
    options = {"workers": 1} | options
    return Detector.fit(Method.load("dae", SMALL), Cohort.read(manifest), out=out, **options)


def test_a_fit_has_marked_folders_and_leaves_no_prepared_cases(manifest, tmp_path):
    out = tmp_path / "model"
    fit(manifest, out)
    assert [kind_of(folder) for folder in (out, out / "run")] == ["detector", "run"]
    assert not (out / "prepared").exists()
    fit(manifest, out, resume=True)
    with pytest.raises(OutputError, match="finished detector already"):
        fit(manifest, out)


def test_texts_are_no_part_of_a_fits_identity_but_all_settings_are(manifest, tmp_path):
    out, cohort = tmp_path / "model", Cohort.read(manifest)
    method = Method.load("dae", SMALL)
    Detector.fit(method, cohort, out=out, workers=1)
    told = replace(method, title="other", summary="other", failure="", cost="other", deviations=["other"])
    Detector.fit(told, cohort, out=out, workers=1, resume=True)
    for key, value in (
        ("model.network.width", 8),
        ("training.steps", 5),
        ("score.compare.mode", "positive"),
        ("case.reduce", "max"),
    ):
        other = method.overridden({key: value})
        with pytest.raises(OutputError, match="finished detector already"):
            Detector.fit(other, cohort, out=out, workers=1, resume=True)


def test_what_is_only_trained_does_not_depend_on_the_question(manifest, tmp_path):
    out, cohort = tmp_path / "model", Cohort.read(manifest)
    method = Method.load("dae", SMALL)
    trained = Detector.fit(method, cohort, out=out, workers=1, calibrated=False)
    other = method.overridden({"score.compare.mode": "positive"})
    again = Detector.fit(other, cohort, out=out, workers=1, calibrated=False, resume=True)
    assert again.identity == trained.identity
    with pytest.raises(OutputError, match="finished detector already"):
        Detector.fit(
            method.overridden({"model.network.width": 8}),
            cohort,
            out=out,
            workers=1,
            calibrated=False,
            resume=True,
        )


def test_foreign_files_in_a_detectors_folder_stay(manifest, tmp_path):
    for name, out in (("data", tmp_path / "data"), ("not empty", tmp_path / "mine")):
        out.mkdir(exist_ok=True)
        (out / "detector.toml").write_text("mine")
        before = file_hash(out)
        with pytest.raises(OutputError, match=rf"{name}|read|already"):
            fit(manifest, out)
        assert file_hash(out) == before
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mine").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        fit(manifest, tmp_path / "model", cache=tmp_path / "cache")
    with pytest.raises(OutputError, match="both"):
        fit(manifest, tmp_path / "model", cache=tmp_path / "data" / ".." / "model")
    (tmp_path / "model" / "run").mkdir(parents=True)
    (tmp_path / "model" / "run" / "metrics.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        fit(manifest, tmp_path / "model")
    assert (tmp_path / "model" / "run" / "metrics.jsonl").read_text() == "mine"


def test_every_bad_case_is_told_and_the_corrected_fit_goes_into_the_same_folder(manifest, tmp_path):
    out = tmp_path / "model"
    for index in (1, 3):
        _spoil(tmp_path / "data" / f"scan{index}.nii.gz")
    with pytest.raises(InputError, match=r"2 case\(s\) cannot be used:\n  c1: .*NaN.*\n  c3: .*NaN"):
        fit(manifest, out)
    with pytest.raises(ModelError, match="no detector here"):
        Detector.load(out)
    for index in (1, 3):
        scan(index).write(tmp_path / "data" / f"scan{index}.nii.gz")
    assert fit(manifest, out).calibration.n_cases == 2


def test_an_unfinished_training_of_other_settings_stays(manifest, tmp_path, monkeypatch):
    out = tmp_path / "model"

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(manifest, out)
    monkeypatch.undo()
    before = file_hash(out)
    with pytest.raises(OutputError, match="unfinished fit of other settings"):
        fit(manifest, out, seed=1)
    assert file_hash(out) == before
    fit(manifest, out)
    assert kind_of(out) == "detector"


def test_preparation_tells_of_every_case_and_keeps_the_others(manifest, tmp_path):
    cases = list(Cohort.read(manifest))
    _spoil(cases[0].channels["image"])

    class Odd:
        """A step that does not like one scan."""

        def __call__(self, volume):
            if volume.provenance["path"].endswith("scan1.nii.gz"):
                raise TypeError("odd")
            return volume

    recipe = Recipe([Odd()], [{"name": "odd"}])
    with pytest.raises(
        InputError, match=r"2 of 4 .*\n  c0: .*NaN.*\n  c1: unexpected TypeError: odd"
    ) as caught:
        prepare_cohort(
            cases, recipe, tmp_path / "cache", channels=["image"], workers=1, logs=tmp_path / "run"
        )
    assert str(tmp_path / "run" / "logs" / "c1.log") in str(caught.value)
    assert "TypeError" in (tmp_path / "run" / "logs" / "c1.log").read_text()
    assert len(list((tmp_path / "cache").glob("*/meta.json"))) == 2
    with pytest.raises(OutputError, match="what is read"):
        prepare_cohort(cases, recipe, tmp_path / "data", channels=["image"])


def test_calibration_leaves_bad_cases_out_and_says_so(manifest, tmp_path):
    made = detector("random", manifest, tmp_path / "model")
    (tmp_path / "more").mkdir()
    more = Cohort.read(cohort(tmp_path / "more", 4))
    for case in more:
        index = int(case.case[1:])
        scan(10 + index).write(case.channels["image"])
    _spoil(more[2].channels["image"])
    failed = {}
    found = made.calibrate(more, failed=failed, out=tmp_path / "again").calibration
    assert found.n_cases == 3
    assert list(failed) == ["c2"]
    assert any("left out: c2: " in note and "NaN" in note for note in found.notes)
    for case in more:
        _spoil(case.channels["image"])
    with pytest.raises(InputError, match=r"4 case\(s\) cannot be calibrated with"):
        made.calibrate(more)


def test_a_calibration_is_replaced_where_it_was_and_nothing_else_is(manifest, tmp_path):
    detector("random", manifest, tmp_path / "model")
    (tmp_path / "more").mkdir()
    more = Cohort.read(cohort(tmp_path / "more", 4))
    for copied in ("with its marks", "without"):
        folder = tmp_path / copied
        shutil.copytree(tmp_path / "model", folder)
        if copied == "without":
            (folder / MARK).unlink()
            (folder / RECORD).unlink()
        (folder / "notes.txt").write_text("mine")
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for case in more:
            scan(20 + int(case.case[1:])).write(case.channels["image"])
        Detector.load(folder).calibrate(more)
        after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert {name for name in after if after[name] != before.get(name)} == {"calibration.json"}
    with pytest.raises(OutputError, match="finished detector already"):
        Detector.load(tmp_path / "model").calibrate(more, out=tmp_path / "without")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.md").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        Detector.load(tmp_path / "model").calibrate(more, out=tmp_path / "mine")
    with pytest.raises(OutputError, match="finished detector already"):
        Detector.load(tmp_path / "with its marks").save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model")
    loaded.save(tmp_path / "model")  # its own folder
    assert read_mark(tmp_path / "model")["kind"] == "detector"


@pytest.mark.parametrize("name", ["calibration.json", "fingerprint.json", "detector.toml"])
def test_a_damaged_detector_names_the_file(name, manifest, tmp_path):
    detector("random", manifest, tmp_path / "model")
    for content in ("{", "[]", '{"channels": 1}', "format = 2", "\xff\xfe"):
        (tmp_path / "model" / name).write_text(content, encoding="latin-1")
        with pytest.raises(ModelError, match=re.escape(name)):
            Detector.load(tmp_path / "model")


@pytest.mark.parametrize(("name", "dims"), [("fpi", 2), ("fpi", 3), ("synthetic-lesions", 3)])
def test_synthetic_anomalies_are_learnt_and_watched_in_different_families(
    name, dims, manifest, tmp_path, monkeypatch
):
    from aberra.synthesis.planted import Planted

    tasks = []
    real = Planted.__init__

    def seen(self, samples, **options):
        tasks.append(({volume.data.tobytes() for volume in samples.volumes}, options))
        real(self, samples, **options)

    monkeypatch.setattr(Planted, "__init__", seen)
    settings = {
        "prepare.dims": dims,
        "model.widths": [4, 8],
        "model.restores": True,
        "training.steps": 2,
        "training.batch_size": 2,
        "training.validation_samples": 4,
        "prepare.size": 16,
    }
    method = Method.load(name, settings)
    made = Detector.fit(method, Cohort.read(manifest), out=tmp_path / "model", workers=1)
    (learnt, task), (watched, other) = tasks
    assert learnt.isdisjoint(watched)
    assert not set(task["sources"]) & set(other["sources"])
    assert 0 <= made.facts["training_best_validation"] <= 1
    result = made.detect(scan(1))
    assert result.reconstruction.shape == result.map.shape
    assert ("fixed-0.5" in made.calibration.thresholds) == (name != "fpi")


def test_images_are_not_fitted_in_three_dimensions(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(50, 200, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    method = Method.load("ae", {"prepare.dims": 3})
    with pytest.raises(ConfigError, match=r"prepare\.dims=3 needs volumes"):
        Detector.fit(method, Cohort.from_paths(folder), out=tmp_path / "model", workers=1)
    assert not (tmp_path / "model").exists()


DENSITY = {
    "prepare.size": 16,
    "model.encoder.network.width": 4,
    "model.encoder.latent": 4,
    "model.density.components": [1, 2],
    "training.steps": 2,
    "training.batch_size": 2,
    "training.samples": 6,
}


def test_a_density_is_learnt_after_the_training_on_healthy_samples_as_they_are(
    manifest, tmp_path, monkeypatch
):
    from aberra.models.feature_density import FeatureDensity

    learn, seen = FeatureDensity.fit_density, {}

    def fit_density(model, x, validation, seed):
        seen.update(x=x, validation=validation, seed=seed, trained=(tmp_path / "model" / "run").is_dir())
        return learn(model, x, validation, seed)

    monkeypatch.setattr(FeatureDensity, "fit_density", fit_density)
    rows = manifest.read_text().splitlines()
    sick = [
        row.replace("c1,p1,", "sick,p9,").replace(",0,train", ",1,train")
        for row in rows
        if row.startswith("c1,")
    ]
    manifest.write_text("\n".join([*rows, *sick]) + "\n")
    method = Method.load("vae-gmm", DENSITY)
    found = Detector.fit(method, Cohort.read(manifest), out=tmp_path / "model", workers=1, seed=3)
    assert seen["trained"]
    assert seen["seed"] == 3
    # four slices of each of two healthy cases, of which six are taken
    assert seen["x"].shape == seen["validation"].shape == (6, 1, 16, 16)
    assert found.facts["training_cases"] == 2
    assert found.facts["density_components"] in (1, 2)
    again = Detector.load(tmp_path / "model")
    assert again.facts["density_validation"] == found.facts["density_validation"]
    assert again.detect(scan(9)).score == found.detect(scan(9)).score


def test_a_density_needs_no_validation_cases(manifest, tmp_path):
    kept = [row for row in manifest.read_text().splitlines() if not row.endswith("val")]
    manifest.write_text("\n".join(kept) + "\n")
    method = Method.load("cradl", DENSITY)
    found = Detector.fit(method, Cohort.read(manifest), out=tmp_path / "model", workers=1)
    assert found.facts["validation_cases"] == 0
    assert found.facts["density_components"] in (1, 2)
