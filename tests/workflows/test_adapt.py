"""A segmenter that learns what another detector finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Case, Cohort
from aberra.detector import Detector
from aberra.errors import CalibrationError, ConfigError, InputError, OutputError, TrainingError
from aberra.files import read_json
from aberra.kinds import GUESSED, GUESSES, UNDECIDED, UNTOLD
from aberra.method import Method
from aberra.training import Sampler, TrainingConfig
from aberra.volume import Volume
from aberra.workflows.adapt import adapt, student_of, taught_by
from aberra.workflows.calibrate import unseen
from aberra.workflows.detect import detect_cohort
from aberra.workflows.evaluate import evaluate
from aberra.workflows.teacher import guess
from small_scans import cohort as healthy_cohort
from small_scans import detector, scan

SMALL = {
    "model.network.width": 4,
    "model.network.depth": 2,
    "training.steps": 3,
    "training.batch_size": 2,
    "training.min_foreground": 0.0,
}


def sick(index):
    """A scan with a bright block, and where it is."""
    volume = scan(index)
    lesion = np.zeros(volume.shape, dtype=bool)
    lesion[2:4, 6:10, 6 + index % 3 : 10 + index % 3] = True
    return volume.with_(data=volume.data + 2 * lesion[None].astype(np.float32)), lesion


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A calibrated detector of brightness, and a site: four healthy scans, six others with
    outlines.
    """
    folder = tmp_path_factory.mktemp("site")
    (folder / "healthy").mkdir()
    teacher = detector("intensity", healthy_cohort(folder / "healthy", 6), folder / "teacher")
    cases = []
    for index in range(4):
        path = folder / f"well{index}.nii.gz"
        scan(50 + index).write(path)
        split = "val" if index == 3 else "train"
        cases.append(
            Case(case=f"w{index}", patient=f"w{index}", channels={"image": path}, label=0, split=split)
        )
    for index in range(6):
        volume, lesion = sick(index)
        path, outline = folder / f"sick{index}.nii.gz", folder / f"sick{index}_lesion.nii.gz"
        volume.write(path)
        volume.with_(data=lesion[None].astype(np.float32), channels=("mask",)).write(outline)
        split = "val" if index == 5 else "train"
        cases.append(
            Case(
                case=f"s{index}",
                patient=f"s{index}",
                channels={"image": path},
                lesion=outline,
                label=1,
                split=split,
            )
        )
    return teacher, Cohort(cases, "site"), folder


def test_values_between_two_thresholds_are_undecided():
    values = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 1, 11)
    labels = guess(values, 0.65, 0.35).ravel()
    assert labels.tolist() == [0, 0, 0, 0, 2, 2, 2, 1, 1, 1, 1]
    np.testing.assert_array_equal(guess(values, 0.65, 0.65) > 0, values > 0.65)


def test_a_region_is_lesion_as_a_whole_or_undecided_as_a_whole():
    rng = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter, label

    values = gaussian_filter(rng.random((12, 12, 12)), 1.0).astype(np.float32)
    low, high = np.quantile(values, [0.9, 0.97])
    labels = guess(values, high, low, regions=True)
    np.testing.assert_array_equal(labels > 0, values > low)
    numbers, count = label(values > low, structure=np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        told = set(labels[numbers == number].tolist())
        assert told == ({1} if (values[numbers == number] > high).any() else {UNDECIDED})


def test_what_the_teacher_finds_is_learnt_and_outlines_are_not_looked_at(place):
    teacher, site, folder = place
    out = folder / "adapted"
    adapted = adapt(teacher, site, out=out, settings=SMALL, workers=1)
    assert adapted.method.name == "unet"
    assert Detector.load(out).identity == adapted.identity
    assert (adapted.facts["guessed_cases"], adapted.facts["outlined_cases"]) == (6, 0)
    told = Cohort.read(out / "guesses" / "cohort" / "manifest.csv")
    assert {case.case for case in told if case.groups.get(GUESSED) == "1"} == {
        f"s{index}" for index in range(6)
    }
    threshold = teacher.calibration.threshold()[1]
    for case in told:
        if case.label == 0:
            assert case.lesion is None
            continue
        volume = case.read()
        found = teacher.analyse(volume.with_(lesion=None)).map
        np.testing.assert_array_equal(volume.lesion, found > threshold)
    # calibrated on the one healthy scan that is held out
    assert adapted.calibration.n_cases == 1


def test_it_remembers_what_it_has_learnt_from_as_the_site_has_it(place):
    _, site, folder = place
    adapted = Detector.load(folder / "adapted")
    fresh = {case.case for case in unseen(adapted, list(site), ["image"])}
    assert fresh == {case.case for case in site if case.split == "val"}


def test_the_same_run_again_is_another_detector_and_an_interrupted_one_goes_on(place, monkeypatch):
    teacher, site, folder = place
    with pytest.raises(OutputError, match="finished detector already"):
        adapt(teacher, site, out=folder / "adapted", settings=SMALL, workers=1)
    out = folder / "interrupted"
    with monkeypatch.context() as patched:
        patched.setattr("aberra.workflows.learn._learn", _stop)
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher, site, out=out, settings=SMALL, workers=1)
    maps = sorted((out / "guesses").glob("maps-*/s*/map.nii.gz"))
    before = [path.stat().st_mtime_ns for path in maps]
    assert len(maps) == 6
    adapt(teacher, site, out=out, settings=SMALL, workers=1)
    assert [path.stat().st_mtime_ns for path in maps] == before


def _stop(*_args, **_options):
    raise KeyboardInterrupt


def test_a_few_outlines_may_be_used(place):
    teacher, site, folder = place
    settings = SMALL | {"training.outlined": 2}
    adapted = adapt(teacher, site, out=folder / "few", settings=settings, workers=1)
    assert (adapted.facts["guessed_cases"], adapted.facts["outlined_cases"]) == (4, 2)
    told = {case.case: case for case in Cohort.read(folder / "few/guesses/cohort/manifest.csv")}
    own = {case.case: case for case in site}
    assert [told[f"s{index}"].lesion == own[f"s{index}"].lesion for index in range(6)] == [True] * 2 + [
        False
    ] * 4
    assert [GUESSED in told[f"s{index}"].groups for index in range(3)] == [False, False, True]


def test_each_student_teaches_the_next_and_begins_as_its_teacher(place):
    teacher, site, folder = place
    out = folder / "rounds"
    learns = SMALL | {"training.steps": 40, "training.learning_rate": 1e-2, "training.batch_size": 8}
    adapted = adapt(teacher, site, out=out, settings=learns, rounds=2, workers=1)
    first = Detector.load(out / "rounds" / "1")
    assert first.facts["teacher"] == str(teacher.folder)
    assert adapted.facts["teacher"] == str(out / "rounds" / "1")
    assert adapted.method.training["start"] == str(out / "rounds" / "1")
    assert adapted.facts["start_tensors"].split()[0] == adapted.facts["start_tensors"].split()[-1]


def test_scans_of_which_nothing_is_known_are_asked_and_without_healthy_ones_there_are_no_p_values(place):
    teacher, site, folder = place
    unknown = Cohort([replace(case, label=None, lesion=None, split=None) for case in site], "scans")
    adapted = adapt(teacher, unknown, out=folder / "unknown", settings=SMALL, workers=1)
    assert adapted.facts["guessed_cases"] == 10
    assert adapted.calibration.scores == []
    assert any("lesion-free slices" in note for note in adapted.calibration.notes)


def test_a_patient_in_whom_nothing_is_found_is_left_out(place):
    teacher, site, folder = place
    volume = scan(60)
    data = 3 * volume.data
    data[:, 2:4, 4:16, 4:16] /= 3
    volume.with_(data=data).write(folder / "rim.nii.gz")  # bright where nothing is judged
    rim = Case(case="rim", patient="rim", channels={"image": folder / "rim.nii.gz"}, label=1, split="train")
    thresholds = dict.fromkeys(teacher.calibration.thresholds, 0.9)
    strict = teacher.with_(calibration=replace(teacher.calibration, thresholds=thresholds))
    strict = strict.save(folder / "strict")
    adapted = adapt(strict, Cohort([*site, rim], "site"), out=folder / "rim", settings=SMALL, workers=1)
    assert adapted.facts["guessed_nothing"] == ["rim"]
    told = {case.case for case in Cohort.read(folder / "rim/guesses/cohort/manifest.csv")}
    assert told == {case.case for case in site}


def test_students_are_prepared_as_their_teachers(place):
    teacher, _, _ = place
    method, begins = student_of(teacher)
    assert (method.name, begins) == ("unet", False)
    assert method.prepare["steps"] == teacher.recipe.to_config()
    flair = Detector.load("flair")
    method = taught_by(flair, None, {}, scratch=False)
    assert (method.name, method.training["start"], method.training["teacher"]) == (
        "unet-3d",
        "flair",
        "flair",
    )
    assert method.model["network"]["widths"] == flair.method.model["widths"]
    assert "start" not in taught_by(flair, None, {}, scratch=True).training


def test_what_cannot_work_is_refused_before_anything_is_written(place):
    teacher, site, folder = place
    out = folder / "refused"
    with pytest.raises(CalibrationError, match="saved and calibrated"):
        adapt(teacher.with_(calibration=None), site, out=out)
    with pytest.raises(ConfigError, match=r"not from lesions; take a method"):
        adapt(teacher, site, out=out, student=Method.load("ae"))
    with pytest.raises(ConfigError, match=r"training.regions needs training.doubt"):
        adapt(teacher, site, out=out, settings=SMALL | {"training.regions": True})
    with pytest.raises(ConfigError, match=r"name one with training\.teacher"):
        Detector.fit(Method.load("unet", {"training.doubt": "healthy-fpr-5"}), site, out=out)
    with pytest.raises(ConfigError, match="fit it first"):
        Detector.fit(Method.load("unet", {"training.teacher": "ae"}), site, out=out)
    assert not out.exists()


def test_a_teacher_without_findings_is_an_error_that_says_what_to_do(place):
    teacher, site, folder = place
    well = Cohort([case for case in site if case.label == 0], "well")
    with pytest.raises(TrainingError, match="every training case has label 0"):
        adapt(teacher, well, out=folder / "well", settings=SMALL, workers=1)
    calibration = replace(teacher.calibration, thresholds=dict.fromkeys(teacher.calibration.thresholds, 1e6))
    blind = teacher.with_(calibration=calibration).save(folder / "blind")
    with pytest.raises(TrainingError, match=r"lower it with training.threshold"):
        adapt(blind, site, out=folder / "nothing", settings=SMALL, workers=1)


# -- guesses in training ---------------------------------------------------------------------------


def _told(labels, *, guessed="1", seed=0):
    """A prepared volume of 4 slices of 8² with these label values of its lesion."""
    data = np.random.default_rng(seed).random((1, 4, 8, 8), dtype=np.float32)
    return Volume(
        data=data, affine=np.eye(4), mask=np.ones((4, 8, 8), bool), lesion=labels > 0, kinds=labels,
        covariates={GUESSED: guessed} if guessed else {},
    )  # fmt: skip


def _labels():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, 2:4, 2:4], labels[1, 2:4, 4:6] = 1, UNDECIDED
    labels[2, 5, 5] = UNDECIDED
    return labels


def test_undecided_voxels_are_no_foreground():
    sampler = Sampler([_told(_labels())], TrainingConfig(), dims=2, size=(8, 8), lesions=True)
    _, mask, lesion = sampler.fixed(4, 0)
    np.testing.assert_array_equal(mask[:, 0].numpy() == 0, _labels() == UNDECIDED)
    np.testing.assert_array_equal(lesion[:, 0].numpy() == 1, _labels() == 1)
    assert sampler.diseased == [1]  # one undecided voxel is no lesion


def test_models_that_learn_from_unlabelled_scans_are_told_guess_from_truth():
    volumes = [_told(_labels()), _told(np.minimum(_labels(), 1), guessed="", seed=1)]
    sampler = Sampler(volumes, TrainingConfig(), dims=2, size=(8, 8), lesions=True, unlabelled=True)
    _, mask, lesion = sampler.fixed(8, 0)
    assert bool((mask == 1).all())
    expected = np.where(_labels() == UNDECIDED, UNTOLD, _labels() + GUESSES)
    np.testing.assert_array_equal(lesion[:4, 0].numpy(), expected)
    np.testing.assert_array_equal(lesion[4:, 0].numpy(), np.minimum(_labels(), 1))
    for step in range(20):
        _, _, drawn = sampler.draw([0, step], 5)
        assert (drawn.flatten(1) >= 0).all(dim=1).tolist() == [True] * 3 + [False] * 2


def test_a_cohort_without_guesses_is_drawn_as_ever():
    volumes = [_told(np.minimum(_labels(), 1), guessed="", seed=seed) for seed in range(2)]
    for balance in (0.0, 0.5):
        config = TrainingConfig(balance=balance)
        plain, other = (
            Sampler(volumes, config, dims=2, size=(8, 8), lesions=True, unlabelled=each)
            for each in (False, True)
        )
        for one, two in zip(plain.draw([1, 2], 6), other.draw([1, 2], 6), strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_a_column_that_says_neither_is_an_error():
    with pytest.raises(InputError, match="guessed 'maybe': expected 1"):
        Sampler([_told(_labels(), guessed="maybe")], TrainingConfig(), dims=2, size=(8, 8), lesions=True)


def test_diseased_cases_without_outline_are_unlabelled_to_the_model_that_learns_from_these(place):
    _, site, folder = place
    bare = Cohort(
        [replace(case, lesion=None) if case.case in {"s2", "s3"} else case for case in site], "site"
    )
    with pytest.raises(TrainingError, match="missing in column 'lesion': s2, s3"):
        Detector.fit(Method.load("unet", SMALL | {"prepare.size": 16}), bare, out=folder / "bare")
    method = Method.load("unet-embedding", SMALL | {"prepare.size": 16, "model.prior": "own"})
    Detector.fit(method, bare, out=folder / "semi", workers=1)
    metrics = (folder / "semi" / "run" / "metrics.jsonl").read_text()
    assert "embedding" in metrics
    assert read_json(folder / "semi" / "calibration.json")["n_cases"] == 1


def test_nothing_is_judged_by_a_guess(place):
    teacher, _, folder = place
    told = Cohort.read(folder / "adapted" / "guesses" / "cohort" / "manifest.csv")
    sick_ones = Cohort([case for case in told if case.label == 1], told.source)
    detect_cohort(teacher, sick_ones, out=folder / "judged", report=False)
    with pytest.raises(InputError, match="guesses of a detector"):
        evaluate(folder / "judged", sick_ones, progress=False)


def test_the_commands_adapt_and_refine(place, monkeypatch):
    teacher, _, folder = place
    monkeypatch.chdir(folder)
    lines = ["case,image,label,split"]
    lines += [f"w{index},well{index}.nii.gz,0,{'val' if index == 3 else 'train'}" for index in range(4)]
    lines += [f"s{index},sick{index}.nii.gz,1,{'val' if index == 5 else 'train'}" for index in range(6)]
    (folder / "site.csv").write_text("\n".join(lines) + "\n")
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    done = _run("adapt", teacher.folder, "site.csv", "--out", "by-command", "--workers", 1, *settings)
    assert done.exit_code == 0, done.output
    assert "6 case(s) as the teacher sees them, 0 as outlined" in done.output
    scores = sorted(teacher.analyse(scan(index)).score for index in range(20))
    usual = teacher.with_(calibration=replace(teacher.calibration, scores=scores)).save(folder / "usual")
    done = _run(
        "detect", usual.folder, "sick0.nii.gz", "well0.nii.gz", "--out", "found", "--refine", "by-command"
    )
    assert done.exit_code == 0, done.output
    refined = {path.parent.name for path in (folder / "found" / "refined").glob("*/result.json")}
    known = {path.parent.name: read_json(path)["p"] for path in (folder / "found").glob("*/result.json")}
    assert refined == {name for name, p in known.items() if p <= 0.05}


def _run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
