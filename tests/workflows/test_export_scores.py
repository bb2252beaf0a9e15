"""Case scores in the columns of other tools."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.errors import ConfigError, InputError, OutputError
from aberra.workflows.export_scores import export_scores
from small_results import small_results

SCORES = {"a": (19.0, 0.1), "b": (19.5, 0.05), "c": (3.5, 0.85)}
HEALTHY = [float(number) for number in range(1, 20)]


@pytest.fixture
def results(tmp_path):
    """Three cases behind which lie nineteen healthy ones, of scores 1 to 19."""
    folder = small_results(tmp_path / "results", SCORES)
    _calibrated(folder, HEALTHY)
    return folder


def _calibrated(folder, scores):
    content = {"thresholds": {"healthy-fpr-1": 0.5}, "scores": scores, "scale": {"low": 0, "high": 1}, "n_cases": len(scores), "n_voxels": 1}  # fmt: skip
    (folder / "calibration.json").write_text(json.dumps(content))


def _manifest(tmp_path, rows):
    path = tmp_path / "manifest.csv"
    path.write_text("case,image,label,split\n" + "".join(f"{name},scan-0.nii.gz,{label},{split}\n" for name, label, split in rows))  # fmt: skip
    return path


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_case_is_anomalous_above_the_value_that_few_healthy_ones_pass(results, tmp_path):
    out = tmp_path / "anomalib.csv"
    assert export_scores(results, "anomalib", out=out) == []
    rows = _rows(out)
    assert list(rows[0]) == ["image_path", "gt_label", "pred_label", "pred_score"]
    assert [row["pred_label"] for row in rows] == ["0", "1", "0"]  # 19 healthy cases: the limit at 5 % is 19
    assert [float(row["pred_score"]) for row in rows] == [19.0, 19.5, 3.5]
    assert {row["gt_label"] for row in rows} == {""}
    assert rows[1]["image_path"].endswith("scan-1.nii.gz")


def test_the_label_is_what_the_p_value_says_at_the_level(results, tmp_path):
    for level in (0.05, 0.1, 0.9):
        export_scores(results, "imgad", out=tmp_path / f"{level}.csv", level=level)
        called = [row["is_anomaly"] == "True" for row in _rows(tmp_path / f"{level}.csv")]
        assert called == [p <= level for _, p in SCORES.values()]


def test_imgad_has_threshold_and_share_of_healthy_cases_below(results, tmp_path):
    out = tmp_path / "imgad.csv"
    export_scores(results, "imgad", out=out, manifest=_manifest(tmp_path, [("a", 0, ""), ("b", 1, ""), ("c", 1, "")]))  # fmt: skip
    rows = _rows(out)
    assert list(rows[0]) == ["source", "score", "is_anomaly", "threshold", "normal_percentile", "label"]
    assert {float(row["threshold"]) for row in rows} == {19.0}
    assert [float(row["normal_percentile"]) for row in rows] == [18 / 19, 1.0, 3 / 19]
    assert [row["label"] for row in rows] == ["0", "1", "1"]


def test_a_split_leaves_the_other_cases_out_and_a_case_without_truth_is_refused(results, tmp_path):
    manifest = _manifest(tmp_path, [("a", 0, "test"), ("c", 1, "val")])
    with pytest.raises(InputError, match=r"does not have 1 case\(s\).*b"):
        export_scores(results, "anomalib", out=tmp_path / "x.csv", manifest=manifest)
    export_scores(results, "anomalib", out=tmp_path / "x.csv", manifest=manifest, split="val")
    (row,) = _rows(tmp_path / "x.csv")
    assert (row["gt_label"], row["pred_score"]) == ("1", "3.5")


@pytest.mark.parametrize("scores", [[], HEALTHY[:5]])
def test_too_few_healthy_cases_leave_the_label_empty_and_this_is_said(results, tmp_path, scores):
    _calibrated(results, scores)
    out = tmp_path / "imgad.csv"
    (note,) = export_scores(results, "imgad", out=out)
    assert "it needs 19 or more" in note
    assert {(row["is_anomaly"], row["threshold"]) for row in _rows(out)} == {("", "")}
    assert bool(_rows(out)[0]["normal_percentile"]) == bool(scores)


def test_what_cannot_be_is_refused_and_nothing_is_written(results, tmp_path):
    out = tmp_path / "x.csv"
    with pytest.raises(ConfigError, match="style"):
        export_scores(results, "pyod", out=out)
    with pytest.raises(OutputError, match="not a folder of results"):
        export_scores(tmp_path / "nothing", "imgad", out=out)
    (results / "c" / "result.json").write_text("{")
    with pytest.raises(InputError, match="c"):
        export_scores(results, "imgad", out=out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(OutputError, match="there already"):
        export_scores(results, "imgad", out=out)


def test_the_command_says_where_the_table_is(results, tmp_path):
    out = tmp_path / "scores.csv"
    done = CliRunner().invoke(app, ["export-scores", str(results), "--to", "imgad", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert f"scores: {out}" in done.output
    assert len(_rows(out)) == 3
