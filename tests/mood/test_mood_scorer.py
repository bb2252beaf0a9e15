from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from mood_cases import SHAPE, case, challenge, volume
from sklearn.metrics import average_precision_score, roc_auc_score

from aberra.detector.calibration import Calibration
from aberra.errors import InputError, ManifestError, OutputError
from aberra.files import write_json
from aberra.mood.scorer import score, share_read
from aberra.mood.unit import Unit
from aberra.output import claim

FEW = {"n_boot": 20}
CALIBRATION = Calibration(
    thresholds={"healthy-fpr-1": 1.0}, scores=[1.0, 2.0], scale={"low": 0.5, "high": 2.0}, n_cases=2, n_voxels=1
)  # fmt: skip


def _rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _pooled(numbers, maps=None):
    """Truth and float16 predictions of some cases, pooled."""
    told = [case(number) for number in numbers]
    values = [
        found if maps is None else maps.get(number, found)
        for number, (_, _, found) in zip(numbers, told, strict=True)
    ]
    return (
        np.concatenate([truth.ravel() for _, truth, _ in told]) > 0,
        np.concatenate([value.ravel() for value in values]).astype(np.float16).astype(float),
    )


def test_samples_have_the_aps_of_their_numbers(tmp_path):
    labels, predictions = challenge(tmp_path)
    found = score(predictions, labels, task="sample", out=tmp_path / "out", **FEW)
    marks = [number % 2 for number in range(8)]
    values = [float(case(number)[2].mean()) for number in range(8)]
    assert found.value == found.published["ap"] == pytest.approx(average_precision_score(marks, values))
    assert found.exact["auroc"] == pytest.approx(roc_auc_score(marks, values))
    assert found.reading["read"] == pytest.approx(0.475 + 0.5 * found.exact["fpr95"])
    assert (found.team, found.dataset, found.zeros) == ("predictions", tmp_path.name, {})
    assert json.loads((tmp_path / "out" / "score.json").read_text())["value"] == found.value
    assert len(_rows(tmp_path / "out" / "cases.csv")) == 8


def test_pixels_are_pooled_by_batches_and_over_all(tmp_path):
    labels, predictions = challenge(tmp_path)
    found = score(predictions, labels, task="pixel", out=tmp_path / "out", **FEW)
    truth, values = _pooled(range(8))
    whole = average_precision_score(truth, values)
    assert found.published == {
        "ap": pytest.approx(whole),
        "second": pytest.approx(whole),
        "batches": 1,
        "left_out": 0,
    }
    assert found.exact["ap"] == pytest.approx(whole, abs=2e-3)  # float32
    assert found.exact["prevalence"] == pytest.approx(truth.mean())
    small = score(predictions, labels, task="pixel", out=tmp_path / "small", batch=3, **FEW)
    rows = _rows(tmp_path / "small" / "batches.csv")
    assert [row["pass"] for row in rows] == ["1"] * 3 + ["2"] * 3
    told = [float(row["ap"]) for row in rows[:3] if row["ap"]]
    assert small.published["ap"] == pytest.approx(np.mean(told))
    assert small.published["second"] != small.published["ap"]


@pytest.mark.parametrize("task", ["sample", "pixel"])
def test_what_cannot_be_read_is_zeros_and_is_said(tmp_path, task):
    labels, predictions = challenge(tmp_path)
    end = {"sample": ".nii.gz.txt", "pixel": ".nii.gz"}[task]
    own = predictions / task
    (own / f"c1{end}").unlink()
    (own / f"c3{end}").write_text("what?")
    volume(np.ones((2, 2, 2))).write(own / "c5.nii.gz")
    if task == "sample":
        (own / f"c5{end}").write_text("nan")
    found = score(predictions, labels, task=task, out=tmp_path / "out", **FEW)
    assert sorted(found.zeros) == ["c1", "c3", "c5"]
    gone = {number: np.zeros(SHAPE, np.float32) for number in (1, 3, 5)}
    if task == "pixel":
        truth, values = _pooled(range(8), gone)
        assert "shape (2, 2, 2)" in found.zeros["c5"]
    else:
        truth = [number % 2 for number in range(8)]
        values = [float(gone.get(number, case(number)[2]).mean()) for number in range(8)]
    assert found.value == pytest.approx(average_precision_score(truth, values))
    assert "counts as zeros" in (tmp_path / "out" / "table.md").read_text()


def test_predictions_are_clamped_and_labels_rounded(tmp_path):
    labels, predictions = challenge(tmp_path, cases=2)
    truth = case(1)[1]
    volume(np.where(truth > 0, 0.6, 0.4)).write(labels / "pixel" / "c1.nii.gz")
    volume(np.where(truth > 0, 7.0, -3.0)).write(predictions / "pixel" / "c1.nii.gz")
    volume(np.full(SHAPE, 1.0)).write(predictions / "pixel" / "c0.nii.gz")
    found = score(predictions, labels, task="pixel", out=tmp_path / "out", **FEW)
    both = int(truth.sum()) / (truth.sum() + truth.size)  # all ones tie
    assert found.value == pytest.approx(both)


def test_a_constant_scores_the_prevalence(tmp_path):
    labels, predictions = challenge(tmp_path)
    for path in (predictions / "pixel").iterdir():
        path.unlink()
    for path in (predictions / "sample").iterdir():
        path.write_text("0.3")
    for task in ("pixel", "sample"):
        found = score(predictions, labels, task=task, out=tmp_path / task, **FEW)
        assert found.value == pytest.approx(found.exact["prevalence"])
        assert found.exact["auroc"] == 0.5


@pytest.mark.parametrize(("fpr", "prevalence"), [(0.0, 0.5), (1.0, 0.5), (0.4, 0.1)])
def test_reading_is_that_of_the_flagged(fpr, prevalence):
    assert share_read(fpr, prevalence) == pytest.approx(0.95 * prevalence + fpr * (1 - prevalence))


def _manifest(folder, *, columns=True):
    """The cases as a manifest and results of a detector whose units are not [0, 1]."""
    folder.mkdir(exist_ok=True)
    rows = ["case,patient,image,lesion,label" + (",category,subclass,contrast" if columns else "")]
    claim(folder / "results", "results", identity="x")
    write_json(folder / "results" / "calibration.json", CALIBRATION.to_json())
    for number in range(12):
        anomalous, truth, found = case(number)
        volume(found).write(folder / f"s{number}.nii.gz")
        volume(truth, "mask").write(folder / f"t{number}.nii.gz")
        volume(10 * found).write(folder / "results" / f"c{number}" / "map.nii.gz")
        write_json(folder / "results" / f"c{number}" / "result.json", {"score": 10 * float(found.mean())})
        lesion = f"t{number}.nii.gz" if anomalous else ""
        extra = (
            f",{'local' if number > 5 else 'far'},s{number % 4},{0.1 * (number // 4):g}"
            if anomalous
            else ",,,"
        )
        rows.append(f"c{number},p{number // 2},s{number}.nii.gz,{lesion},{int(anomalous)}" + extra * columns)
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "results", folder / "manifest.csv"


@pytest.mark.parametrize("task", ["sample", "pixel"])
def test_results_of_a_detector_are_brought_into_the_unit(tmp_path, task):
    results, manifest = _manifest(tmp_path)
    found = score(results, manifest, task=task, out=tmp_path / "out", **FEW)
    unit = Unit.of(CALIBRATION)
    numbers = range(12)
    if task == "pixel":
        truth, values = _pooled(numbers, {number: unit.map(10 * case(number)[2]) for number in numbers})
    else:
        truth = [number % 2 for number in numbers]
        values = [unit.score(10 * float(case(number)[2].mean())) for number in numbers]
    assert found.value == pytest.approx(average_precision_score(truth, values))
    assert found.notes == [
        f"results brought into [0, 1]: {unit.words[{'sample': 'score', 'pixel': 'map'}[task]]}"
    ]
    assert found.dataset == tmp_path.name


@pytest.mark.parametrize("task", ["sample", "pixel"])
def test_groups_are_held_against_as_many_healthy(tmp_path, task):
    results, manifest = _manifest(tmp_path)
    found = score(results, manifest, task=task, out=tmp_path / "out", **FEW)
    rows = {(row["kind"], row["name"]): row for row in found.groups}
    assert [name for kind, name in rows if kind == "category"] == ["far", "local"]
    assert [row["cases"] for (kind, _), row in rows.items() if kind == "contrast"] == [2, 2, 2]
    own, healthy = [7, 9, 11], range(0, 12, 2)
    unit = Unit.of(CALIBRATION)
    if task == "pixel":
        marks, values = _pooled([*own, *healthy], {n: unit.map(10 * case(n)[2]) for n in range(12)})
        sizes = np.repeat(
            [1.0, len(own) / len(healthy)], [len(own) * truth_size(), len(healthy) * truth_size()]
        )
    else:
        marks = np.array([True] * 3 + [False] * 6)
        values = [unit.score(10 * float(case(n)[2].mean())) for n in (*own, *healthy)]
        sizes = np.where(marks, 1.0, 0.5)
    wanted = average_precision_score(marks, values, sample_weight=sizes)
    assert rows["category", "local"]["ap"] == pytest.approx(wanted)
    assert (tmp_path / "out" / "groups.png").stat().st_size > 5000
    assert (tmp_path / "out" / "sweep-contrast.png").is_file()


def truth_size():
    return int(np.prod(SHAPE))


def test_a_table_beside_the_challenges_labels_tells_of_cases(tmp_path):
    labels, predictions = challenge(tmp_path)
    (labels / "labels.csv").write_text("case,category,size_mm\nc1,near,10\nc3,near,20\nc0,,\n")
    found = score(predictions, labels, task="pixel", out=tmp_path / "out", **FEW)
    assert {(row["kind"], row["name"], row["cases"]) for row in found.groups} == {
        ("category", "near", 2), ("size_mm", "10", 1), ("size_mm", "20", 1)
    }  # fmt: skip
    (labels / "labels.csv").write_text("case,contrast\nc1,low\n")
    with pytest.raises(InputError, match="contrast is 'low'"):
        score(predictions, labels, task="pixel", out=tmp_path / "other", **FEW)
    (labels / "labels.csv").write_text("case;contrast\nc1;1\n")
    with pytest.raises(ManifestError, match="semicolons"):
        score(predictions, labels, task="pixel", out=tmp_path / "other", **FEW)


def test_anomalies_that_nobody_outlined_are_left_out_of_the_pixels(tmp_path):
    results, manifest = _manifest(tmp_path, columns=False)
    manifest.write_text(manifest.read_text().replace("t1.nii.gz", ""))
    found = score(results, manifest, task="pixel", out=tmp_path / "out", **FEW)
    assert len(found.cases) == 11
    assert found.notes[0] == "1 anomalous case(s) without a lesion mask left out"
    assert len(score(results, manifest, task="sample", out=tmp_path / "s", **FEW).cases) == 12


def test_what_cannot_be_scored_is_refused(tmp_path):
    labels, predictions = challenge(tmp_path)
    with pytest.raises(InputError, match="no labels of the pixel task"):
        score(predictions, predictions / "sample", task="pixel", out=tmp_path / "out", **FEW)
    with pytest.raises(InputError, match="no such folder"):
        score(tmp_path / "no", labels, task="pixel", out=tmp_path / "out", **FEW)
    (labels / "sample" / "c0.nii.gz.txt").write_text("2\n")
    with pytest.raises(InputError, match=r"c0.nii.gz.txt: '2' is no label"):
        score(predictions, labels, task="sample", out=tmp_path / "out", **FEW)
    for path in (labels / "sample").iterdir():
        path.write_text("1")
    with pytest.raises(InputError, match="all anomalous"):
        score(predictions, labels, task="sample", out=tmp_path / "out", **FEW)


def test_a_folder_of_scores_is_of_one_submission(tmp_path):
    labels, predictions = challenge(tmp_path)
    score(predictions, labels, task="sample", out=tmp_path / "out", **FEW)
    before = (tmp_path / "out" / "score.json").read_bytes()
    score(predictions, labels, task="sample", out=tmp_path / "out", **FEW)
    assert (tmp_path / "out" / "score.json").read_bytes() == before
    with pytest.raises(OutputError, match="something else"):
        score(predictions, labels, task="pixel", out=tmp_path / "out", **FEW)
