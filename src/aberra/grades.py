"""What a reader says of an object: the grades, their meaning, and the files they are kept in.

After the radiologist's read of a population study in Zimmerer 2022 (Heidelberg, section 4.4 and table
4.5): an object is an incidental finding, of which is said how well it is to be seen, or it is
something else, of which is said what.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from math import dist, inf
from typing import TYPE_CHECKING, Any

from aberra.errors import ConfigError, InputError
from aberra.files import reading
from aberra.options import checked, complete, conforming

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

GRADES = {
    "C1": "incidental finding, clearly visible",
    "C2": "incidental finding, partly visible",
    "C3": "incidental finding, hardly visible",
    "condition": "a medical condition, but no incidental finding as the study defines it",
    "not-relevant": "there, and of no medical relevance",
    "artefact": "artefact of the acquisition",
    "strip-failure": "skull or tissue outside the brain that was not stripped, or brain that was",
    "false-positive": "nothing is there",
}
"""Grade to what it means for a person, in the order of tables."""

HITS = ("C1", "C2", "C3")
"""Grades that make an object an incidental finding."""

MEDICAL = (*HITS, "condition")
"""Grades of objects that are medical findings of some kind."""

MISSED = 0
"""Object number of a finding that a reader adds because no object lies on it."""

NEAR_MM = 10.0
"""Distance up to which two readers mean the same missed finding."""

CONSENSUS = "consensus"
"""Who several readers are together: what they settle on counts against what each of them said."""

FOLDER = "grades"
"""Where in a worklist or a folder of results the files are, ``READER.jsonl`` each."""

Place = tuple[float, float, float]
Key = tuple[str, int, Place | None]
"""What a grade is of: case, object, and, of a missed finding, its place."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One line of a reader's file.

    Attributes:
        reader: who.
        case: the case.
        object: number in ``objects.csv``, or :data:`MISSED`.
        grade: of :data:`GRADES`; empty takes an earlier one back.
        note: the reader's words.
        time: when, ISO 8601.
        x, y, z: place of a missed finding in mm, RAS+ of the scan; None for objects.

    Examples:
        >>> from aberra.grades import HITS, Grade
        >>> Grade(reader="anna", case="s01", object=1, grade="C1").grade in HITS
        True
    """

    reader: str
    case: str
    object: int
    grade: str
    note: str = ""
    time: str = ""
    x: float | None = None
    y: float | None = None
    z: float | None = None

    @property
    def key(self) -> Key:
        """What the grade is of; a case may have several missed findings, told apart by place."""
        if self.object != MISSED or self.x is None or self.y is None or self.z is None:
            return self.case, self.object, None
        return self.case, self.object, (self.x, self.y, self.z)


def read_grades(folder: Path) -> dict[str, dict[Key, Grade]]:
    """Read every reader's file.

    Args:
        folder: of ``READER.jsonl`` files.

    Returns:
        Reader to what counts: the last line for each object, those taken back left out.

    Raises:
        InputError: a line is no grade; names file and line.
    """
    found = {path.stem: _of_reader(path) for path in sorted(folder.glob("*.jsonl"))}
    return {reader: grades for reader, grades in found.items() if grades}


def _of_reader(path: Path) -> dict[Key, Grade]:
    with reading(path):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: no UTF-8 text; grades are lines of JSON") from error
    last: dict[Key, Grade] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            grade = _grade(json.loads(line))
        except (ValueError, ConfigError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: no grade ({error}); mend or delete the line") from error
        last[grade.key] = grade
    return {key: grade for key, grade in last.items() if grade.grade}


def _grade(content: Any) -> Grade:
    """One line's grade; what else a line says is the page's business that wrote it.

    Raises:
        ConfigError: something is missing or cannot be.
    """
    line = conforming(content, dict[str, Any], "line")
    known = {name: value for name, value in line.items() if name in Grade.__dataclass_fields__}
    grade = Grade(**complete(Grade, checked(Grade, known), "line"))
    if grade.grade and grade.grade not in GRADES:
        raise ConfigError(f"grade '{grade.grade}'; expected one of {', '.join(GRADES)}")
    if grade.object < MISSED:
        raise ConfigError(f"object {grade.object}; expected 1 or more, or {MISSED} for a missed finding")
    if grade.object == MISSED and grade.grade and grade.grade not in MEDICAL:
        raise ConfigError(f"a missed finding graded '{grade.grade}'; expected one of {', '.join(MEDICAL)}")
    return grade


def consensus(grades: Iterable[Grade], final: str = CONSENSUS) -> str | None:
    """The grade that counts of an object that one or several readers have graded.

    The grade that most readers gave; where as many gave another, None, and the object waits for a
    second review. What the reader called ``final`` says counts against all others.

    Examples:
        >>> from aberra.grades import Grade, consensus
        >>> said = {"anna": "C1", "ben": "C2", "carl": "C1"}
        >>> read = [Grade(reader=who, case="s", object=1, grade=it) for who, it in said.items()]
        >>> consensus(read), consensus(read[:2]), consensus(read[:2], final="ben")
        ('C1', None, 'C2')
    """
    given = {grade.reader: grade.grade for grade in grades}
    if final in given:
        return given[final]
    counts = Counter(given.values()).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def by_object(grades: Mapping[str, Mapping[Key, Grade]]) -> dict[Key, list[Grade]]:
    """All readers' grades of each object, in the order of cases and objects.

    Missed findings of two readers are one where they lie within :data:`NEAR_MM`; it has the place
    that the first of them gave.
    """
    found: dict[Key, list[Grade]] = {}
    for own in grades.values():
        before = [key for key in found if key[2] is not None]
        for key, grade in own.items():
            found.setdefault(_nearest(key, before), []).append(grade)
    return {key: found[key] for key in sorted(found, key=lambda key: (key[0], key[1], key[2] or ()))}


def _nearest(key: Key, before: list[Key]) -> Key:
    """The missed finding of another reader that this one is, which is then taken; else the key."""
    case, _, place = key
    if place is None:
        return key
    near = [(dist(place, other[2]), other) for other in before if other[0] == case and other[2] is not None]
    away, other = min(near, default=(inf, key))
    if away > NEAR_MM:
        return key
    before.remove(other)
    return other
