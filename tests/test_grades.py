from __future__ import annotations

import json

import pytest

from aberra.errors import InputError
from aberra.grades import GRADES, HITS, MEDICAL, Grade, by_object, consensus, read_grades


def _write(folder, reader, *lines):
    folder.mkdir(exist_ok=True)
    text = "".join(
        json.dumps({"reader": reader, "note": "", "time": "2026-01-01"} | line) + "\n" for line in lines
    )
    (folder / f"{reader}.jsonl").write_text(text)


def _said(*grades):
    return [Grade(reader=f"r{n}", case="s", object=1, grade=grade) for n, grade in enumerate(grades)]


def test_the_last_line_for_an_object_counts(tmp_path):
    first = {"case": "a", "object": 1, "grade": "C1"}
    _write(tmp_path, "anna", first, {"case": "a", "object": 2, "grade": "artefact"}, first | {"grade": "C3"})
    grades = read_grades(tmp_path)["anna"]
    assert {key: grade.grade for key, grade in grades.items()} == {
        ("a", 1, None): "C3",
        ("a", 2, None): "artefact",
    }


def test_an_empty_grade_takes_one_back(tmp_path):
    line = {"case": "a", "object": 1, "grade": "C1"}
    _write(tmp_path, "anna", line, line | {"grade": ""})
    assert read_grades(tmp_path) == {}


def test_missed_findings_are_told_apart_by_place(tmp_path):
    line = {"case": "a", "object": 0, "grade": "C2", "x": 1.0, "y": 2.0, "z": 3.0}
    _write(tmp_path, "anna", line, line | {"x": 30.0}, line | {"grade": "C3"})
    assert sorted(grade.grade for grade in read_grades(tmp_path)["anna"].values()) == ["C2", "C3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Expecting property name"),
        ('["a"]', "expected"),
        ('{"reader": "a", "case": "s", "object": 1}', "grade"),
        ('{"reader": "a", "case": "s", "object": 1, "grade": "C9"}', "expected one of C1, C2"),
        ('{"reader": "a", "case": "s", "object": -1, "grade": "C1"}', "1 or more"),
        (
            '{"reader": "a", "case": "s", "object": 0, "grade": "artefact"}',
            "a missed finding graded 'artefact'",
        ),
        ('{"reader": "a", "case": "s", "object": 0, "grade": "C1", "x": NaN}', "x=nan: expected a number"),
    ],
)
def test_a_line_that_is_no_grade_is_named(tmp_path, line, message):
    (tmp_path / "anna.jsonl").write_text("\n" + line + "\n")
    with pytest.raises(InputError, match=r"anna.jsonl, line 2: no grade \(.*" + message):
        read_grades(tmp_path)


def test_most_readers_decide_and_the_final_one_against_all():
    assert consensus(_said("C1")) == "C1"
    assert consensus(_said("C1", "artefact", "C1")) == "C1"
    assert consensus(_said("C1", "artefact")) is None
    assert consensus(_said("C1", "C1", "artefact"), final="r2") == "artefact"
    assert consensus([]) is None


def test_grades_of_an_object_come_together(tmp_path):
    _write(
        tmp_path,
        "anna",
        {"case": "b", "object": 1, "grade": "C1"},
        {"case": "a", "object": 10, "grade": "C1"},
    )
    _write(
        tmp_path, "ben", {"case": "a", "object": 2, "grade": "C1"}, {"case": "b", "object": 1, "grade": "C2"}
    )
    found = by_object(read_grades(tmp_path))
    assert [(key[:2], len(given)) for key, given in found.items()] == [
        (("a", 2), 1),
        (("a", 10), 1),
        (("b", 1), 2),
    ]


def test_two_readers_mean_the_same_missed_finding_where_it_is_near(tmp_path):
    line = {"case": "a", "object": 0, "grade": "C2", "x": 1.0, "y": 2.0, "z": 3.0}
    _write(tmp_path, "anna", line, line | {"x": 5.0})
    _write(tmp_path, "ben", line | {"x": 7.0, "grade": "C1"}, line | {"x": 40.0}, line | {"case": "b"})
    found = by_object(read_grades(tmp_path))
    grades = {(key[0], key[2][0]): [grade.grade for grade in given] for key, given in found.items()}
    assert grades == {("a", 1): ["C2"], ("a", 5): ["C2", "C1"], ("a", 40): ["C2"], ("b", 1): ["C2"]}


def test_findings_are_medical_and_every_grade_has_a_meaning():
    assert set(HITS) < set(MEDICAL) < set(GRADES)
    assert all(GRADES.values())
