"""``findings``: grades and objects into a report."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Case, Cohort
from aberra.errors import InputError
from aberra.files import write_json
from aberra.output import claim
from aberra.result import Result
from aberra.volume import Volume
from aberra.workflows.findings import findings
from aberra.workflows.objects import objects
from aberra.workflows.scores import write_scores
from aberra.workflows.worklist import worklist as make_worklist

SHAPE = (12, 12, 12)


def _results(folder, names, *, two=()):
    """Cases with one object each, those of ``two`` with two."""
    claim(folder, "results", identity="one")
    for index, name in enumerate(names):
        values = np.zeros(SHAPE, np.float32)
        values[1:4, 1:4, 1:4] = 1 - index / 100
        if name in two:
            values[7:10, 7:10, 7:10] = 0.5
        grid = Volume(data=values[None], affine=np.diag([4.0, 4.0, 4.0, 1.0]), channels=("anomaly",))
        Result(
            case=name, paths={}, map=grid, mask=values > 0.2, reconstruction=None, score=float(values.max()),
            p=0.01 if index < 2 else 0.5, components=[], threshold={"protocol": "x", "value": 0.2},
            scale={"low": 0.0, "high": 1.0}, model={"name": "toy", "fingerprint": "m"}, input={"sha256": f"{folder}{name}"},
        ).save(folder / name)  # fmt: skip
    objects(folder, threshold="0.2")
    return folder


def _say(folder, reader, **grades):
    """``case_object="grade"``; object 0 is a missed finding."""
    (folder / "grades").mkdir(exist_ok=True)
    with (folder / "grades" / f"{reader}.jsonl").open("a") as file:
        for key, grade in grades.items():
            case, number = key.split("_")
            line = {
                "reader": reader,
                "case": case,
                "object": int(number),
                "grade": grade,
                "note": f"of {case}",
                "time": "",
            }
            file.write(json.dumps(line | ({"x": 1, "y": 2, "z": 3} if number == "0" else {})) + "\n")


@pytest.fixture
def read(tmp_path):
    folder = _results(tmp_path / "results", ["a", "b", "c", "d"], two=("b",))
    _say(folder, "anna", b_1="C1", b_2="artefact", c_1="C2", c_0="C3")
    _say(folder, "ben", b_1="C1", b_2="false-positive")
    return folder


def _table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_objects_count_by_what_their_readers_say(read):
    found = findings(read, n_boot=20).content
    rows = {row["grade"]: (row["objects"], row["missed"]) for row in found["by_grade"]}
    assert {grade: counts for grade, counts in rows.items() if any(counts)} == {
        "C1": (1, 0),
        "C2": (1, 0),
        "C3": (0, 1),
    }
    assert (found["objects"], found["graded"], found["disputed"], found["ungraded"]) == (5, 2, 1, 2)
    assert found["rates"]["sensitivity"] == pytest.approx(2 / 3)
    assert found["readers"] == {"anna": 4, "ben": 2}
    (pair,) = found["agreement"]
    assert (pair["objects"], pair["agreed"], pair["kappa_finding"]) == (2, 0.5, 1)


def test_the_final_reader_ends_a_dispute(read):
    _say(read, "chief", b_2="artefact")
    found = findings(read, final="chief", n_boot=20)
    assert found.content["disputed"] == 0
    assert {row["grade"]: row["objects"] for row in found.content["by_grade"]}["artefact"] == 1
    assert not [row for row in found.review if "differ" in row["why"]]


def test_disputes_and_unusual_scans_without_a_grade_are_to_be_reviewed(read):
    review = _table(findings(read, n_boot=20).folder / "review.csv")
    assert [(row["case"], row["object"]) for row in review] == [("a", ""), ("b", "2")]
    assert review[1]["why"] == "readers differ: anna artefact, ben false-positive"


def test_reading_is_saved_by_the_scans_below_the_last_finding(read):
    found = findings(read, n_boot=20, sensitivity=1.0).content["reading"]
    assert (found["with"], found["without"]) == (2, 2)
    assert (found["to_read"], found["saved"], found["false_positive_rate"]) == (0.75, 0.25, 0.5)  # a, b and c


def test_groups_add_up_and_training_cases_are_told(read):
    about = {
        "a": ("x", "31", "test"),
        "b": ("x", "39", "train"),
        "c": ("y", "40", "test"),
        "d": ("y", "", "test"),
    }
    cohort = Cohort(
        Case(case=name, patient=name, channels={}, label=0, split=split, groups={"site": site} | ({"age": age} if age else {}))
        for name, (site, age, split) in about.items()
    )  # fmt: skip
    found = findings(read, cohort=cohort, n_boot=20)
    groups = {(row["column"], row["value"]): row for row in found.content["by_group"]}
    assert list(groups) == [
        ("site", "x"),
        ("site", "y"),
        ("age", "30-39"),
        ("age", "40-49"),
        ("split", "test"),
        ("split", "train"),
    ]
    for column, values in {"site": "xy", "split": ("test", "train")}.items():
        assert sum(groups[column, value]["objects"] for value in values) == found.content["objects"]
    assert groups["site", "x"]["rates"]["sensitivity"] == 1
    assert groups["age", "40-49"]["rates"]["sensitivity"] == 0.5
    assert [(row["case"], row["object"], row["grade"]) for row in found.training] == [("b", 1, "C1")]


def test_findings_in_the_training_set_are_listed(read, tmp_path):
    learnt = _results(tmp_path / "learnt", ["t", "u"])
    _say(learnt, "anna", t_1="condition", u_1="artefact")
    found = findings(read, training=learnt, n_boot=20)
    assert [(row["case"], row["grade"]) for row in _table(found.folder / "training.csv")] == [
        ("t", "condition")
    ]
    with pytest.raises(InputError, match="has learnt from are not judged"):
        findings(read, training=read)


def test_grades_of_objects_that_are_not_there_are_left_out_and_said(read):
    _say(read, "anna", z_1="C1", a_7="C1")
    found = findings(read, n_boot=20)
    assert found.content["notes"] == [
        "2 grade(s) of objects that are not there: anna: a, object 7, anna: z, object 1"
    ]
    assert found.content["readers"]["anna"] == 4


def test_grades_of_a_worklist_are_of_its_objects(read, tmp_path):
    worklist = tmp_path / "worklist"
    write_scores(read, Cohort([]), {})
    make_worklist(read, out=worklist)
    _say(worklist, "carl", a_1="condition")
    assert findings(read, grades=worklist, n_boot=20).content["readers"] == {"carl": 1}
    (read / "grades").rename(tmp_path / "grades")
    objects(read, threshold="0.6")
    with pytest.raises(InputError, match="a worklist of other objects"):
        findings(read, grades=worklist)


def test_without_grades_the_page_says_so(tmp_path):
    folder = _results(tmp_path / "results", ["a", "b"])
    found = findings(folder, n_boot=20)
    assert found.content["rates"]["sensitivity"] is None
    assert "Nobody has graded" in (found.folder / "findings.html").read_text()


def test_the_page_loads_nothing_and_takes_notes_as_text(read):
    _say(read, "anna", d_1="C1")
    path = read / "grades" / "anna.jsonl"
    path.write_text(path.read_text().replace("of d", "<script>alert(1)</script> http://x"))
    page = (findings(read, n_boot=20).folder / "findings.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "src=" not in page
    assert "href=" not in page


def test_the_command_tells_the_numbers(read):
    told = CliRunner().invoke(app, ["findings", str(read), "--bootstrap", "10"])
    assert told.exit_code == 0, told.output
    assert "2 of 5 object(s) graded, 1 disputed" in told.output
    write_json(read / "objects" / "a.json", {})
    told = CliRunner().invoke(app, ["findings", str(read)])
    assert told.exit_code == 1
