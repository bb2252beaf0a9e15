from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.errors import InputError, OutputError
from aberra.workflows.worklist import worklist
from small_results import small_results

SCORES = {"mild": (1.0, 0.5), "worst": (3.0, 0.1), "bad": (2.0, 0.1), "=1+1": (9.0, None)}


def _sheet(folder):
    text = (folder / "worklist.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(text.decode("utf-8-sig").splitlines()))


def test_the_sheet_has_cases_by_p_then_score_and_objects_by_number(tmp_path):
    made = worklist(small_results(tmp_path / "results", SCORES), out=tmp_path / "w")
    assert (made.cases, made.objects, made.kept) == (4, 8, 0)
    rows = _sheet(tmp_path / "w")
    assert [(row["rank"], row["case"]) for row in rows[::2]] == [
        ("1", "worst"), ("2", "bad"), ("3", "mild"), ("4", "'=1+1"),
    ]  # fmt: skip
    assert [row["object"] for row in rows] == ["1", "2"] * 4
    assert {row["grade"] + row["note"] for row in rows} == {""}


def test_cases_without_objects_are_at_the_end_and_say_why(tmp_path):
    scores = SCORES | {"calm": (0.5, 0.9), "odd": (7.0, 0.05), "late": (1.0, 0.2)}
    results = small_results(tmp_path / "results", scores, without=["calm", "odd", "late"])
    with (results / "scores.csv").open("a") as file:
        file.write("gone,,,,failed: no such file\n")
    (results / "objects.json").write_text(json.dumps({"failed": {"odd": "the map is damaged"}}))
    (results / "objects" / "late.json").unlink()
    made = worklist(results, out=tmp_path / "w")
    assert (made.cases, made.objects, made.without) == (8, 8, 4)
    rows = _sheet(tmp_path / "w")[8:]
    assert [(row["rank"], row["case"], row["object"], row["score"], row["reason"]) for row in rows] == [
        ("5", "odd", "", "7.0", "objects cannot be told"), ("6", "late", "", "1.0", "not cut into objects yet"),
        ("7", "calm", "", "0.5", "no object above the threshold"), ("8", "gone", "", "", "no result"),
    ]  # fmt: skip
    cases = json.loads((tmp_path / "w" / "worklist.json").read_text())["cases"][4:]
    assert [case["problem"] for case in cases] == [
        "the map is damaged", f"run `aberra objects {results}` again", "", "failed: no such file",
    ]  # fmt: skip
    drawn = {path.parent.name for path in (tmp_path / "w" / "pictures").glob("*/case.js")}
    assert [case["id"] in drawn for case in cases] == [False, False, True, False]
    done = CliRunner().invoke(app, ["worklist", str(results), "--out", str(tmp_path / "w")])
    assert "8 objects in 8 cases, 4 of them without any (5 from before)" in " ".join(done.output.split())


def test_an_interrupted_run_goes_on_and_a_changed_result_is_drawn_again(tmp_path):
    results = small_results(tmp_path / "results", SCORES)
    worklist(results, out=tmp_path / "w")
    pictures = sorted((tmp_path / "w" / "pictures").glob("*/case.js"))
    assert len(pictures) == 4
    pictures[0].unlink()
    assert worklist(results, out=tmp_path / "w").kept == 3
    path = results / "bad" / "result.json"
    path.write_text(path.read_text().replace('"seconds": 0.0', '"seconds": 1.0'))
    assert worklist(results, out=tmp_path / "w").kept == 3
    assert worklist(results, out=tmp_path / "w").kept == 4


def test_a_case_that_cannot_be_shown_stays_on_the_list(tmp_path):
    results = small_results(tmp_path / "results", SCORES)
    (tmp_path / "scan-1.nii.gz").unlink()
    done = CliRunner().invoke(app, ["worklist", str(results), "--out", str(tmp_path / "w")])
    assert done.exit_code == 1
    assert "failed worst" in done.output
    assert "8 objects in 4 cases" in done.output
    cases = json.loads((tmp_path / "w" / "worklist.json").read_text())["cases"]
    assert [bool(case["problem"]) for case in cases] == [True, False, False, False]


def test_objects_that_may_be_graded_are_not_changed_and_cases_are_added(tmp_path):
    results = small_results(tmp_path / "results", SCORES)
    table = (results / "objects.csv").read_text().splitlines()
    few = "\n".join(line for line in table if not line.startswith("mild")) + "\n"
    (results / "objects.csv").write_text(few)
    assert worklist(results, out=tmp_path / "w").without == 1, "mild, which has not been cut"
    (tmp_path / "w" / "grades").mkdir()
    (tmp_path / "w" / "grades" / "anna.jsonl").write_text("")
    (results / "objects.csv").write_text("\n".join(table) + "\n")
    assert worklist(results, out=tmp_path / "w").kept == 3
    (results / "objects.csv").write_text(few)
    with pytest.raises(OutputError, match="mild has other objects now"):
        worklist(results, out=tmp_path / "w")
    (results / "objects.csv").write_text(few.replace("0.5,fixed", "0.6,fixed"))
    with pytest.raises(OutputError, match="cut otherwise"):
        worklist(results, out=tmp_path / "w")
    with pytest.raises(OutputError, match="holds what is read"):
        worklist(results, out=results)


def test_what_cannot_be_a_worklist_is_said(tmp_path):
    results = small_results(tmp_path / "results", SCORES)
    table = (results / "objects.csv").read_text()
    for text, told in (
        (None, "run `aberra objects"),
        (table.splitlines()[0], "nothing to read"),
        (table.replace("mild,1,", "mild,one,"), "line 2"),
        (table.replace("mild", "unknown"), "line 2"),
        (table.replace("peak", "top"), "line 2"),
    ):
        (results / "objects.csv").unlink(missing_ok=True)
        if text is not None:
            (results / "objects.csv").write_text(text)
        with pytest.raises(InputError, match=told):
            worklist(results, out=tmp_path / "w")
        assert not (tmp_path / "w" / "index.html").exists()
