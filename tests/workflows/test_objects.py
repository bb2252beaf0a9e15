"""``objects``: thresholds, the tables, and what is kept."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Cohort
from aberra.detector.calibration import Calibration, ScoreHistogram
from aberra.errors import CalibrationError, ConfigError, InputError, OutputError
from aberra.files import write_json
from aberra.output import claim
from aberra.result import Result
from aberra.volume import Volume
from aberra.workflows import objects as workflow
from aberra.workflows.objects import COLUMNS, objects, read_records

SHAPE = (20, 20, 20)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
"""64 mm³ a voxel: 1,200 mm³ are 19 voxels."""


def _ball(centre, radius):
    steps = np.indices(SHAPE) - np.reshape(centre, (3, 1, 1, 1))
    return (steps**2).sum(axis=0) <= radius**2


def _save(folder, name, values, *, p=0.5, model="m"):
    grid = Volume(data=values[None].astype(np.float32), affine=AFFINE, channels=("anomaly",))
    Result(
        case=name, paths={}, map=grid, mask=values > 0.5, reconstruction=None, score=float(values.max()), p=p,
        components=[], threshold={"protocol": "healthy-fpr-1", "value": 0.5}, scale={"low": 0.0, "high": 1.0},
        model={"name": "toy", "fingerprint": model}, input={"sha256": f"{folder}{name}"},
    ).save(folder / name)  # fmt: skip


def _cohort(folder, maps, lesions, **options):
    """Results of these maps, and their manifest."""
    claim(folder / "results", "results", identity="one", about={"protocol": "healthy-fpr-1"})
    histogram = ScoreHistogram()
    histogram.add(np.linspace(0, 1, 1000, dtype=np.float32))
    write_json(
        folder / "results" / "calibration.json", Calibration.from_healthy(histogram, [0.1] * 19).to_json()
    )
    rows = ["case,patient,image,lesion,label"]
    for name, values in maps.items():
        _save(folder / "results", name, values, **options)
        scan = Volume(data=np.random.default_rng(0).random((1, *SHAPE)) + 0.1, affine=AFFINE)
        scan.write(folder / f"{name}.nii.gz")
        truth = lesions.get(name)
        if truth is not None:
            scan.with_(data=truth[None].astype(np.float32), channels=("mask",)).write(
                folder / f"{name}_l.nii.gz"
            )
        rows.append(
            f"{name},p-{name},{name}.nii.gz,{'' if truth is None else f'{name}_l.nii.gz'},{int(truth is not None)}"
        )
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "results", Cohort.read(folder / "manifest.csv")


@pytest.fixture
def study(tmp_path):
    """Three cases: a lesion found beside a weaker false object; one missed; a healthy one, clean."""
    lesion = _ball((6, 6, 6), 3)
    maps = {
        "a": lesion * 0.9
        + _ball((14, 14, 14), 3) * 0.7
        + _ball((3, 15, 3), 1) * 0.99,  # the last is too small
        "b": np.zeros(SHAPE),
        "c": np.zeros(SHAPE),
    }
    return _cohort(tmp_path, maps, {"a": lesion, "b": _ball((10, 10, 10), 2)})


def _table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_objects_are_listed_strongest_first(study):
    results, _ = study
    found = objects(results, threshold="0.5")
    rows = _table(results / "objects.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["case"], row["object"]) for row in rows] == [("a", "1"), ("a", "2")]
    assert [float(row["peak"]) for row in rows] == pytest.approx([0.9, 0.7])
    assert [float(rows[0][f"centre_{axis}"]) for axis in "xyz"] == [24, 24, 24]
    assert float(rows[0]["volume_mm3"]) == _ball((6, 6, 6), 3).sum() * 64
    assert (rows[0]["p"], rows[0]["threshold"], rows[0]["protocol"]) == ("0.5", "0.5", "by-hand")
    assert found.cases == 3
    assert json.loads((results / "objects.json").read_text())["with_objects"] == 1


def test_the_threshold_of_the_masks_is_the_default(study):
    results, _ = study
    found = objects(results)
    assert found.threshold.protocol == "healthy-fpr-1"
    assert (
        found.threshold.value
        == json.loads((results / "calibration.json").read_text())["thresholds"]["healthy-fpr-1"]
    )
    assert found.rows == []  # .99 is above all of them


def test_known_lesions_are_matched_and_counted(study):
    results, truth = study
    found = objects(results, threshold="0.5", truth=truth, n_boot=50)
    assert [(row["object"], row["hit"]) for row in _table(results / "matches.csv")] == [
        ("1", "True"),
        ("2", "False"),
    ]
    assert [(row["case"], row["hit"]) for row in _table(results / "lesions.csv")] == [
        ("a", "True"),
        ("b", "False"),
    ]
    hit = found.summary["hit"]
    assert (hit["recall"], hit["precision"], hit["false_positives_per_scan"]) == (
        0.5,
        0.5,
        pytest.approx(1 / 3),
    )
    low, high = hit["false_positives_per_scan_interval"]
    assert low == 0 < high <= 1
    assert found.summary["patients"] == 3
    counted = {row["from_mm3"]: row["lesions"] for row in found.summary["by_volume"] if row["lesions"]}
    assert sum(counted.values()) == 2
    records = {each["case"]: each for each in read_records(results)}
    assert records["a"]["auroc"] > 0.99
    assert records["c"]["ap"] is None


def test_what_is_finished_is_kept_until_something_changes(study, monkeypatch):
    results, truth = study
    objects(results, threshold="0.5", truth=truth, n_boot=10)
    first = (results / "objects.csv").read_bytes()

    def never(*_, **__):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "_cut", never)
        again = objects(results, threshold="0.5", truth=truth, n_boot=10)
    assert (again.kept, (results / "objects.csv").read_bytes()) == (3, first)
    assert objects(results, threshold="0.8", truth=truth, n_boot=10).kept == 0
    _save(results, "c", _ball((6, 6, 6), 3) * 0.9)
    assert objects(results, threshold="0.8", truth=truth, n_boot=10).kept == 2


def test_one_map_is_in_memory_at_a_time(study, monkeypatch):
    results, _ = study
    alive, most = [], []
    load = Result.load

    def counted(folder):
        import gc
        import weakref

        gc.collect()
        found = load(folder)
        alive.append(weakref.ref(found))
        most.append(sum(each() is not None for each in alive))
        return found

    monkeypatch.setattr(workflow.Result, "load", counted)
    objects(results, threshold="0.5")
    assert most == [1, 1, 1]


def test_a_case_that_fails_does_not_stop_the_others(study):
    results, _ = study
    (results / "b" / "map.nii.gz").write_bytes(b"no map")
    failed = {}
    found = objects(results, threshold="0.5", failed=failed)
    assert list(failed) == ["b"]
    assert (found.cases, len(found.rows)) == (2, 2)
    assert "b" in found.notes[0]
    assert [each["case"] for each in read_records(results)] == ["a", "c"]


def test_graded_objects_are_not_numbered_anew(study):
    results, truth = study
    objects(results, threshold="0.5")
    (results / "grades").mkdir()
    (results / "grades" / "anna.jsonl").write_text("")
    objects(results, threshold="0.5", truth=truth, n_boot=10)  # only says more of the same objects
    with pytest.raises(OutputError, match="grades of objects that were cut otherwise"):
        objects(results, threshold="0.6")


def test_toy_is_the_threshold_of_the_best_dice_on_planted_lesions(tmp_path, study):
    results, _ = study
    truth = _ball((10, 10, 10), 4)
    noise = np.random.default_rng(0).random(SHAPE) * 0.3
    toy, planted = _cohort(tmp_path / "toy", {"t": noise + truth * 0.5}, {"t": truth})
    found = objects(results, threshold="toy", toy=toy, toy_truth=planted)
    assert found.threshold.protocol == "toy"
    assert 0.29 < found.threshold.value < 0.51
    assert len(found.rows) == 2


def test_a_conformal_threshold_lets_the_wanted_share_of_healthy_cases_through(tmp_path, study):
    results, _ = study
    heights = np.linspace(0.1, 0.6, 19)
    healthy, _ = _cohort(
        tmp_path / "healthy", {f"h{n}": _ball((10, 10, 10), 3) * h for n, h in enumerate(heights)}, {}
    )
    found = objects(results, threshold="conformal", healthy=healthy, level=0.1)
    assert found.threshold.value == pytest.approx(heights[17])  # ⌈20 × .9⌉ = 18th of 19
    assert "19 healthy case(s)" in found.notes[0]
    with pytest.raises(CalibrationError, match="it needs 99 or more"):
        objects(results, threshold="conformal", healthy=healthy, level=0.01)


def test_judged_cases_do_not_set_their_threshold(tmp_path, study):
    results, truth = study
    with pytest.raises(InputError, match=r"3 case\(s\) are in .* too"):
        objects(results, threshold="conformal", healthy=results)
    other, _ = _cohort(tmp_path / "other", {"h": np.zeros(SHAPE)}, {}, model="another")
    with pytest.raises(InputError, match="results of another detector"):
        objects(results, threshold="conformal", healthy=other)
    with pytest.raises(ConfigError, match="--toy-truth"):
        objects(results, threshold="toy", toy_truth=truth)
    with pytest.raises(ConfigError, match="--healthy"):
        objects(results, threshold="0.5", healthy=other)


@pytest.mark.parametrize("threshold", ["nan", "-1", "inf", "healthy-fpr-2"])
def test_other_thresholds_are_refused(study, threshold):
    with pytest.raises(ConfigError):
        objects(study[0], threshold=threshold)


def test_no_results_no_objects(tmp_path):
    with pytest.raises(InputError, match="no results; run `aberra detect"):
        objects(tmp_path)
    with pytest.raises(InputError, match="run `aberra objects"):
        read_records(tmp_path)


def test_the_command_tells_the_numbers(study):
    results, truth = study
    told = CliRunner().invoke(
        app,
        ["objects", str(results), "--threshold", "0.5", "--truth", str(truth.source), "--bootstrap", "10"],
    )
    assert told.exit_code == 0, told.output
    assert "2 object(s) in 1 of 3 case(s)" in told.output
    assert "recall" in told.output
