"""The report of a population study: what the objects of a cohort are, by those who have read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aberra.cohort import Cohort
from aberra.cohort.manifest import expect_cohort
from aberra.errors import InputError, shortlist
from aberra.files import csv_text, read_json, read_mark, reading, write_json, write_text
from aberra.grades import (
    CONSENSUS,
    FOLDER,
    HITS,
    MEDICAL,
    MISSED,
    Grade,
    Key,
    by_object,
    consensus,
    read_grades,
)
from aberra.metrics.findings import agreement, by_grade, rates
from aberra.metrics.findings import reading as reading_saved
from aberra.options import Between, ShareAboveZero, Within, configured
from aberra.output import claim
from aberra.report.findings_page import render_findings
from aberra.versions import versions
from aberra.workflows.detect import FINDINGS
from aberra.workflows.object_threshold import expect_others
from aberra.workflows.objects import cut_identity, read_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aberra.cohort import Case

GROUPS = ("site", "sex", "age", "split")
"""Columns of a manifest that the numbers are also told by."""

FINDING_COLUMNS = (
    "case", "object", "grade", "agreed", "volume_mm3", "centre_x", "centre_y", "centre_z", "region", "peak", "p", "note",
)  # fmt: skip
REVIEW_COLUMNS = ("case", "object", "score", "p", "why")
TRAINING_COLUMNS = ("case", "object", "grade", "centre_x", "centre_y", "centre_z", "note")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a report says.

    Attributes:
        content: what is written to ``findings.json``.
        rows: lines of ``findings.csv``: every object that was graded, and every missed finding.
        review: lines of ``review.csv``.
        training: lines of ``training.csv``.
        folder: where all is written.
    """

    content: dict[str, Any]
    rows: list[dict[str, Any]]
    review: list[dict[str, Any]]
    training: list[dict[str, Any]]
    folder: Path


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A folder of results, and what readers say of it.

    Attributes:
        records: what is kept of each case, by name.
        grades: reader to grades.
        rows: lines of ``findings.csv``.
        notes: what a reader of the report must know.
    """

    records: dict[str, dict[str, Any]]
    grades: dict[str, dict[Key, Grade]]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


@configured("findings")
def findings(
    results: Path,
    *,
    grades: Path | None = None,
    cohort: Cohort | None = None,
    training: Path | None = None,
    training_grades: Path | None = None,
    sensitivity: ShareAboveZero = 0.95,
    final: str = CONSENSUS,
    level: Between = 0.05,
    n_boot: Annotated[int, Within(1, 100_000)] = 500,
    seed: int = 0,
) -> Findings:
    """Write ``findings/`` into a folder of results: a page and tables of what readers have said of
    its objects.

    After the population study in Zimmerer 2022 (Heidelberg, section 4.4). An object counts with the
    grade that most of its readers gave; where they are split, it is in no number and in the list for
    a second review, until the reader ``final`` has graded it. With truth (``aberra objects
    --truth``) the page also has what became of known lesions, and each scan's AP and AUROC.

    Args:
        results: with objects (:func:`aberra.workflows.objects.objects`).
        grades: the worklist that was read, or another folder with ``grades/READER.jsonl``; that of
            the results without.
        cohort: manifest of the cases: patients, labels, and the columns of :data:`GROUPS`.
        training: results of the same detector on the cases that it has learnt from, with objects and
            grades: findings in them are what it has learnt to take for healthy.
        training_grades: as ``grades``, of these.
        sensitivity: share of cases with a finding that reading only the highest scores has to keep.
        final: the reader whose grade decides.
        level: p-value up to which a case that nobody has graded is in the list for a second review;
            without p-values that share of the highest scores.
        n_boot: bootstrap replicates over patients.
        seed: of the bootstrap.

    Raises:
        InputError: no objects, a line that is no grade, or training results that are not other
            cases of the same detector.
        OutputError: the folder holds something else.

    Deviation: the study has one reader.
    """
    read = _read(results, grades or results, final)
    known = {case.case: case for case in expect_cohort(cohort)} if cohort is not None else {}
    claim(results / FINDINGS, "findings")
    learnt = {name for name, case in known.items() if case.split == "train"}
    from_training = [row for row in read.rows if row["case"] in learnt and row["grade"] in MEDICAL]
    if training is not None:
        expect_others(training, results, "cases that a detector has learnt from are not judged")
        from_training += [
            row for row in _read(training, training_grades or training, final).rows if row["grade"] in MEDICAL
        ]
    drawn = {"n_boot": n_boot, "seed": seed}
    patients = {name: _patient(known.get(name), record) for name, record in read.records.items()}
    positive = _positive(read, known)
    review = _review(read, level=level)
    content: dict[str, Any] = {
        **_numbers(list(read.records), read, patients, positive, sensitivity, **drawn),
        "readers": {name: len(grades) for name, grades in read.grades.items()},
        "final": final if final in read.grades else "",
        "agreement": [
            {"one": a, "other": b, **agreement(read.grades[a], read.grades[b], patients, **drawn)}
            for a, b in combinations([name for name in read.grades if name != final], 2)
        ],
        "by_group": [
            {
                "column": column,
                "value": value,
                **_numbers(own, read, patients, positive, sensitivity, **drawn),
            }
            for column, value, own in _groups(read.records, known)
        ],
        "known": _summary(results),
        "per_scan": {
            name: [record[name] for record in read.records.values() if record[name] is not None]
            for name in ("ap", "auroc")
        },
        "review": len(review),
        "training": len(from_training),
        "notes": read.notes,
        "versions": versions(),
    }
    found = Findings(
        content=content, rows=read.rows, review=review, training=from_training, folder=results / FINDINGS
    )
    _write(found, list(read.grades))
    return found


def _read(results: Path, folder: Path, final: str) -> _Read:
    """The records and grades of a folder of results, and a line for everything that is graded."""
    records = {record["case"]: record for record in read_records(results)}
    _expect_of(folder, results, records)
    grades, lost = dict[str, dict[Key, Grade]](), list[str]()
    for reader, own in read_grades(folder / FOLDER).items():
        there = {key: grade for key, grade in own.items() if _is_there(key, records)}
        lost += [f"{reader}: {case}, object {number}" for case, number, _ in own.keys() - there.keys()]
        grades[reader] = there
    rows = [_row(key, given, records, final) for key, given in by_object(grades).items()]
    notes = [f"{len(lost)} grade(s) of objects that are not there: {shortlist(sorted(lost))}"] if lost else []
    if final not in {CONSENSUS, *grades}:
        notes.append(f"no grades of the final reader '{final}'; readers: {', '.join(grades) or 'none'}")
    return _Read(records=records, grades=grades, rows=rows, notes=notes)


def _expect_of(folder: Path, results: Path, records: Mapping[str, dict[str, Any]]) -> None:
    """Refuse a worklist of other objects.

    Raises:
        InputError: it was made of other results, or of maps that were cut otherwise.
    """
    mark = read_mark(folder)
    if mark is None or mark["kind"] != "worklist":
        return
    rows = (row for record in records.values() for row in record["objects"])
    if mark["identity"] != cut_identity(results, rows):
        raise InputError(
            f"{folder}: a worklist of other objects than {results / 'objects.csv'}; cut them as before with `aberra objects`"
        )


def _is_there(key: Key, records: Mapping[str, dict[str, Any]]) -> bool:
    case, number, _ = key
    return case in records and (number == MISSED or number <= len(records[case]["objects"]))


def _row(
    key: Key, given: Sequence[Grade], records: Mapping[str, dict[str, Any]], final: str
) -> dict[str, Any]:
    """A graded object, or a missed finding: what it is, and what each reader says."""
    case, number, place = key
    record = records[case]
    row: dict[str, Any] = {
        "case": case,
        "object": number,
        "p": record["p"],
        "grade": consensus(given, final),
        "agreed": len({grade.grade for grade in given}) == 1 or final in {grade.reader for grade in given},
        "note": "; ".join(f"{grade.reader}: {grade.note}" for grade in given if grade.note),
        **{f"reader {grade.reader}": grade.grade for grade in given},
    }
    if number != MISSED:
        found: dict[str, Any] = record["objects"][number - 1]
        return found | row
    return row | dict(zip(("centre_x", "centre_y", "centre_z"), place or ("", "", ""), strict=True))


def _patient(case: Case | None, record: Mapping[str, Any]) -> str:
    return str(record["patient"]) if case is None else case.patient


def _positive(read: _Read, known: Mapping[str, Case]) -> dict[str, bool]:
    """Whether a case has a finding: one that a reader has graded, or one that is known."""
    graded = {row["case"] for row in read.rows if row["grade"] in HITS}
    return {
        name: name in graded or bool(record["lesions"]) or (name in known and known[name].label == 1)
        for name, record in read.records.items()
    }


def _numbers(
    names: Sequence[str],
    read: _Read,
    patients: Mapping[str, str],
    positive: Mapping[str, bool],
    sensitivity: float,
    **drawn: int,
) -> dict[str, Any]:
    """All that is told of a set of cases."""
    own = {name: read.records[name] for name in names}
    rows = [row for row in read.rows if row["case"] in own]
    graded = [(row["case"], row["object"], row["grade"]) for row in rows if row["grade"] is not None]
    objects = sum(len(record["objects"]) for record in own.values())
    touched = sum(row["object"] != MISSED for row in rows)
    return {
        "cases": len(own),
        "objects": objects,
        "with_objects": sum(bool(record["objects"]) for record in own.values()),
        "graded": sum(number != MISSED for _, number, _ in graded),
        "disputed": len(rows) - len(graded),
        "ungraded": objects - touched,
        "by_grade": by_grade(graded),
        "rates": rates(graded, {name: patients[name] for name in own}, **drawn),
        "reading": reading_saved(
            [record["score"] for record in own.values()],
            [positive[name] for name in own],
            [patients[name] for name in own],
            sensitivity,
            **drawn,
        ),
    }


def _groups(names: Iterable[str], known: Mapping[str, Case]) -> list[tuple[str, str, list[str]]]:
    """Column, value and cases of every group of more than none."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        for column in GROUPS if name in known else ():
            case = known[name]
            value = case.split or "" if column == "split" else case.group(column)
            if value:
                found.setdefault((column, value), []).append(name)
    ordered = sorted(found, key=lambda key: (GROUPS.index(key[0]), key[1]))
    return [(column, value, found[column, value]) for column, value in ordered]


def _review(read: _Read, *, level: float) -> list[dict[str, Any]]:
    """What is worth a second look, strongest case first."""
    rows = []
    for row in read.rows:
        said = ", ".join(
            f"{name.removeprefix('reader ')} {row[name]}" for name in row if name.startswith("reader ")
        )
        if not row["agreed"]:
            rows.append({"case": row["case"], "object": row["object"], "why": f"readers differ: {said}"})
        elif row["grade"] in HITS and row.get("touches") is False:
            rows.append({"case": row["case"], "object": row["object"], "why": f"no known lesion: {said}"})
    graded = {row["case"] for row in read.rows}
    strongest = sorted(read.records.values(), key=lambda record: -record["score"])
    top = {record["case"] for record in strongest[: round(level * len(strongest))]}
    for record in strongest:
        unusual = record["case"] in top if record["p"] is None else record["p"] <= level
        if unusual and record["case"] not in graded:
            rows.append(
                {"case": record["case"], "object": "", "why": "unusual, and nobody has graded anything in it"}
            )
    rows = [
        row | {"score": read.records[row["case"]]["score"], "p": read.records[row["case"]]["p"]}
        for row in rows
    ]
    return sorted(rows, key=lambda row: (-row["score"], row["case"], str(row["object"])))


def _summary(results: Path) -> dict[str, Any]:
    """What ``aberra objects`` says of known lesions; nothing without truth."""
    path = results / "objects.json"
    with reading(path):
        return dict(read_json(path)["truth"])


def _write(found: Findings, readers: Sequence[str]) -> None:
    """The tables, then the numbers and the page."""
    columns = (*FINDING_COLUMNS, *(f"reader {name}" for name in readers))
    write_text(found.folder / "findings.csv", csv_text(columns, found.rows))
    write_text(found.folder / "review.csv", csv_text(REVIEW_COLUMNS, found.review))
    write_text(found.folder / "training.csv", csv_text(TRAINING_COLUMNS, found.training))
    write_json(found.folder / "findings.json", found.content)
    write_text(
        found.folder / "findings.html",
        render_findings(found.content, found.rows, found.review, found.training),
    )
