from __future__ import annotations

import json

import pytest

from aberra.errors import ConfigError, InputError
from aberra.grades import read_grades
from aberra.reader.session import Session
from aberra.workflows.worklist import worklist
from small_results import small_results

SCORES = {f"case-{number}": (float(number), 0.1 * number) for number in range(1, 7)}
TELLING = ("p", "score", "peak", "mean", "threshold", "object", "warnings", "protocol")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("session")
    worklist(small_results(place / "results", SCORES), out=place / "w")
    return place / "w"


@pytest.fixture(autouse=True)
def _nobody_has_read(folder):
    for path in (folder / "grades").glob("*"):
        path.unlink()


def _say(session, index, grade, note=""):
    item = session.content()["items"][index]
    return session.save({"id": item["id"], "grade": grade, "note": note})


def test_a_grade_is_on_the_disk_and_the_last_one_counts(folder):
    session = Session(folder, "anna")
    for grade in ("C1", "artefact"):
        _say(session, 0, grade, "ä\n<b>")
    lines = [json.loads(line) for line in (folder / "grades" / "anna.jsonl").read_text().splitlines()]
    assert [line["grade"] for line in lines] == ["C1", "artefact"]
    assert lines[0] | {"time": ""} == {
        "reader": "anna", "case": "case-1", "object": 1, "grade": "C1", "note": "ä\n<b>", "time": "",
    }  # fmt: skip
    assert Session(folder, "anna").content()["items"][0]["saved"] == {"grade": "artefact", "note": "ä\n<b>"}
    _say(session, 0, "")
    assert Session(folder, "anna").content()["items"][0]["saved"] is None


def test_a_line_that_a_crash_has_cut_is_no_loss(folder):
    _say(Session(folder, "anna"), 0, "C1")
    path = folder / "grades" / "anna.jsonl"
    path.write_bytes(path.read_bytes() + b'{"reader": "anna", "ca')
    session = Session(folder, "anna")
    _say(session, 1, "C2")
    assert [grade.grade for grade in read_grades(folder / "grades")["anna"].values()] == ["C1", "C2"]


def test_a_blinded_reader_is_told_nothing_of_scores(folder):
    content = Session(folder, "anna", blinded=True).content()
    keys = {key for row in (*content["cases"], *content["items"]) for key in row}
    assert not keys & set(TELLING)
    assert "peak" in Session(folder, "anna").content()["items"][0]
    order = [case["case"] for case in content["cases"]]
    assert order == [case["case"] for case in Session(folder, "anna", blinded=True).content()["cases"]]
    assert sorted(order) == sorted(SCORES)
    orders = {
        tuple(case["case"] for case in Session(folder, name, blinded=True).content()["cases"])
        for name in ("anna", "ben", "carl", "dora")
    }
    assert len(orders) > 1
    items = [item["id"] for item in content["items"]]
    assert sorted(items) == sorted(item["id"] for item in Session(folder, "anna").content()["items"])


def test_readers_do_not_see_each_other(folder):
    _say(Session(folder, "anna"), 0, "C1", "mine")
    told = json.dumps(Session(folder, "ben").content())
    assert "mine" not in told
    assert "anna" not in told


def test_missed_findings_are_told_apart_by_place(folder):
    session = Session(folder, "anna")
    case = session.content()["cases"][1]
    for place in ("1.0,2.0,3.0", "-4.25,5,6"):
        session.save({"id": f"{case['id']}@{place}", "grade": "C3", "note": ""})
    missed = [item for item in Session(folder, "anna").content()["items"] if item.get("missed")]
    assert [item["centre"] for item in missed] == [[1.0, 2.0, 3.0], [-4.2, 5.0, 6.0]]
    assert {item["case"] for item in missed} == {1}
    lines = (folder / "grades" / "anna.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) | {"time": ""} == {
        "reader": "anna", "case": case["case"], "object": 0, "grade": "C3", "note": "", "time": "", "x": 1.0, "y": 2.0, "z": 3.0,
    }  # fmt: skip


def test_a_case_without_objects_is_shown_last_and_only_what_was_missed_is_graded(tmp_path):
    made = worklist(small_results(tmp_path / "results", SCORES, without=["case-1"]), out=tmp_path / "w")
    assert made.without == 1
    session = Session(tmp_path / "w", "anna")
    item = session.content()["items"][-1]
    assert (item["nothing"], item["saved"]) == ("no object above the threshold", None)
    with pytest.raises(ConfigError, match="no finding"):
        session.save({"id": item["id"], "grade": "C1", "note": ""})
    session.save({"id": f"{item['id']}@1,2,3", "grade": "C1", "note": ""})
    content = Session(tmp_path / "w", "anna").content()
    assert [each.get("missed", False) for each in content["items"][-2:]] == [False, True]
    assert {each["case"] for each in content["items"][-2:]} == {len(content["cases"]) - 1}
    assert not set(Session(tmp_path / "w", "ben", blinded=True).content()["items"][0]) & set(TELLING)
    Session(tmp_path / "w", "ben").save(
        {"id": session.content()["items"][0]["id"], "grade": "C2", "note": ""}
    )
    session.save({"id": session.content()["items"][0]["id"], "grade": "C3", "note": ""})
    judged = Session(tmp_path / "w", "consensus", judges=["anna", "ben"]).content()["items"]
    assert not [each for each in judged if "nothing" in each]


def test_what_is_no_grade_is_refused_and_not_written(folder):
    session = Session(folder, "anna")
    case, item = session.content()["cases"][0]["id"], session.content()["items"][0]["id"]
    good = {"id": item, "grade": "C1", "note": ""}
    for posted in (
        None, [], {}, good | {"grade": "C9"}, good | {"grade": 1}, good | {"id": "nothing"}, good | {"note": None},
        good | {"id": f"{case}@1,2"}, good | {"id": f"{case}@1,2,nan"}, good | {"id": "x@1,2,3"},
        {"id": f"{case}@1,2,3", "grade": "artefact", "note": ""},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            session.save(posted)
    assert not (folder / "grades" / "anna.jsonl").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "consensus", ".hidden", "ä", "x" * 65])
def test_readers_have_plain_names(folder, name):
    with pytest.raises(ConfigError, match="reader"):
        Session(folder, name)


def test_no_worklist_is_said(tmp_path):
    with pytest.raises(InputError, match="aberra worklist"):
        Session(tmp_path, "anna")


def test_a_consensus_is_of_what_two_readers_disagree_on(folder):
    anna, ben = Session(folder, "anna"), Session(folder, "ben")
    for index, (first, second) in enumerate(
        [("C1", "C1"), ("C1", "C2"), ("C3", None), ("artefact", "condition")]
    ):
        _say(anna, index, first, "of anna")
        if second:
            _say(ben, index, second)
    case = anna.content()["cases"][4]["id"]
    anna.save({"id": f"{case}@1,2,3", "grade": "C2", "note": ""})
    ids = [item["id"] for item in anna.content()["items"]]
    session = Session(folder, "consensus", judges=["anna", "ben"])
    items = session.content()["items"]
    assert [item["id"] for item in items] == [ids[1], ids[3], f"{case}@1.0,2.0,3.0"]
    assert items[0]["given"] == [
        {"reader": "anna", "grade": "C1", "note": "of anna"}, {"reader": "ben", "grade": "C2", "note": ""},
    ]  # fmt: skip
    _say(session, 0, "C2")
    assert [grade.grade for grade in read_grades(folder / "grades")["consensus"].values()] == ["C2"]
    with pytest.raises(InputError, match="no grades of carl"):
        Session(folder, "consensus", judges=["anna", "carl"])
    with pytest.raises(ConfigError, match="two readers"):
        Session(folder, "consensus", judges=["anna"])
