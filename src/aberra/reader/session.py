"""What one reader is given of a worklist, and what is kept of what he says.

A reader is told nothing of another one's grades. Blinded, he is told nothing either of how a finding
scored: no number, no order, no map.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any

from aberra.errors import ConfigError, InputError, shortlist
from aberra.files import append_line, read_json, reading
from aberra.grades import CONSENSUS, FOLDER, GRADES, MEDICAL, MISSED, Grade, by_object, read_grades

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aberra.grades import Key

DATA = "worklist.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LONGEST_NOTE = 4000
NOTHING = -1
"""Number that no object has."""

BLIND = ("id", "volume_mm3", "centre", "region")
"""What a blinded reader is told of an object."""


def identify(*parts: object) -> str:
    """A name for a case or an object that can be a file's and tells nothing."""
    return sha256(json.dumps(parts).encode()).hexdigest()[:12]


class Session:
    """One reader's work on one worklist.

    Args:
        folder: that ``aberra worklist`` wrote.
        reader: whose file the grades go into.
        blinded: show no score and no map, in an order that has nothing to do with them.
        judges: two readers or more: show what they disagree on and what each says of it.

    Raises:
        InputError: no worklist, a damaged file of grades, or a judge without grades.
        ConfigError: a reader cannot be called so, or there is one judge alone.
    """

    def __init__(
        self, folder: Path, reader: str, *, blinded: bool = False, judges: Sequence[str] = ()
    ) -> None:
        self.folder, self.reader, self.blinded, self.judges = folder, reader, blinded, tuple(judges)
        for name in (reader, *judges):
            if not NAME.fullmatch(name) or (name == CONSENSUS) != (bool(judges) and name == reader):
                raise ConfigError(
                    f"reader '{name}': expected letters, digits, '.', '_' and '-', and another name than '{CONSENSUS}'"
                )
        if judges and len(set(judges)) < 2:
            raise ConfigError("a consensus takes two readers or more; name each once")
        self.cases = worklist_cases(folder)
        self.file = folder / FOLDER / f"{reader}.jsonl"
        self.lock = Lock()
        for path in (folder / FOLDER).glob("*.jsonl"):
            append_line(path)  # what a crash has left of a line
        grades = read_grades(folder / FOLDER)
        unknown = [name for name in judges if name not in grades]
        if unknown:
            raise InputError(f"{folder / FOLDER}: no grades of {shortlist(unknown)}; there are {shortlist(grades) or 'none'}")  # fmt: skip
        self.said = grades.get(reader, {})
        self.given = _disputed({name: grades[name] for name in judges})
        self.objects = {each["id"]: (case, each) for case in self.cases for each in case["objects"]}
        self.case_of = {case["id"]: case for case in self.cases}

    def content(self) -> dict[str, Any]:
        """What the page is given.

        Returns:
            ``cases`` and ``items`` (findings in the order in which they are read) with the grades
            that are on the disk, and who reads.
        """
        cases, items = list[dict[str, Any]](), list[dict[str, Any]]()
        missed = [*self.said, *self.given]
        for case in self._ordered(self.cases):
            found = [
                item
                for each in self._ordered(case["objects"])
                if (item := self._item(case, each)) is not None
            ]
            found += [
                self._missed(case, place)
                for place in dict.fromkeys(
                    key[2] for key in missed if key[:2] == (case["case"], MISSED) and key[2] is not None
                )
            ]
            if not case["objects"] and not self.judges:
                found.insert(0, nothing_of(case) | self._graded((case["case"], NOTHING, None)))
            items += [item | {"case": len(cases)} for item in found]
            shown = ("id", "case", "problem") if self.blinded else tuple(set(case) - {"objects"})
            if found:
                cases.append({name: case[name] for name in shown})
        return {
            "identity": read_json(self.folder / DATA)["identity"], "reader": self.reader, "blinded": self.blinded,
            "judges": list(self.judges), "cases": cases, "items": items,
        }  # fmt: skip

    def save(self, posted: Any) -> dict[str, str]:
        """Put a grade on the disk.

        Args:
            posted: ``id`` (of an object, or ``CASE@x,y,z`` of a missed finding), ``grade`` (empty
                takes it back) and ``note``.

        Returns:
            What was written; it is on the disk.

        Raises:
            ConfigError: not such a thing.
            OutputError: it cannot be written.
        """
        if not isinstance(posted, dict) or not all(isinstance(posted.get(key), str) for key in ("id", "grade", "note")):  # fmt: skip
            raise ConfigError("expected id, grade and note, text each")
        case, number, place = self._key(posted["id"])
        grade, note = posted["grade"], posted["note"][:LONGEST_NOTE]
        if grade and grade not in (GRADES if number != MISSED else MEDICAL):
            raise ConfigError(f"no grade '{grade[:40]}' here")
        line = {
            "reader": self.reader, "case": case, "object": number, "grade": grade, "note": note,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        } | ({} if place is None else dict(zip("xyz", place, strict=True)))  # fmt: skip
        kept = Grade(**line)
        with self.lock:
            append_line(self.file, json.dumps(line, ensure_ascii=False))
            if grade:
                self.said[kept.key] = kept
            else:
                self.said.pop(kept.key, None)
        return {"id": posted["id"], "grade": grade, "note": note}

    def _key(self, name: str) -> Key:
        """What a name on the page stands for.

        Raises:
            ConfigError: nothing.
        """
        if name in self.objects:
            case, found = self.objects[name]
            return case["case"], found["object"], None
        of, _, place = name.partition("@")
        try:
            x, y, z = (round(float(each), 1) for each in place.split(","))
        except ValueError:
            x = y = z = float("nan")
        if of not in self.case_of or not all(map(isfinite, (x, y, z))):
            raise ConfigError(f"no finding '{name[:60]}' in this worklist")
        return self.case_of[of]["case"], MISSED, (x, y, z)

    def _ordered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows as they are ranked; blinded by chance, the same for a reader each time."""
        return sorted(rows, key=lambda row: identify(self.reader, row["id"])) if self.blinded else rows

    def _item(self, case: dict[str, Any], found: dict[str, Any]) -> dict[str, Any] | None:
        """An object as the page has it; None where a consensus has nothing to find."""
        key = (case["case"], found["object"], None)
        if self.judges and key not in self.given:
            return None
        told = {name: found[name] for name in BLIND} if self.blinded else dict(found)
        return told | self._graded(key)

    def _missed(self, case: dict[str, Any], place: tuple[float, float, float]) -> dict[str, Any]:
        """A missed finding as the page has it."""
        at = ",".join(f"{value:.1f}" for value in place)
        return {"id": f"{case['id']}@{at}", "missed": True, "centre": list(place)} | self._graded(
            (case["case"], MISSED, place)
        )

    def _graded(self, key: Key) -> dict[str, Any]:
        saved = self.said.get(key)
        return {
            "saved": None if saved is None else {"grade": saved.grade, "note": saved.note},
            "given": [
                {"reader": each.reader, "grade": each.grade, "note": each.note}
                for each in self.given.get(key, ())
            ],
        }


def nothing_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """What the page has of a case without objects: a place in the list, and nothing to grade."""
    return {"id": case["id"], "nothing": case["reason"]}


def worklist_cases(folder: Path) -> list[dict[str, Any]]:
    """The worklist's cases.

    Raises:
        InputError: there is none.
    """
    path = folder / DATA
    if not path.is_file():
        raise InputError(f"{folder}: no worklist; `aberra worklist DIR --out {folder}` writes one")
    with reading(path):
        try:
            cases: list[dict[str, Any]] = read_json(path)["cases"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); run the same `aberra worklist` again") from error
    return cases


def _disputed(grades: Mapping[str, Mapping[Key, Grade]]) -> dict[Key, list[Grade]]:
    """What the readers do not agree on: other grades of an object, or a missed finding that not all
    of them have marked. What one of them has not graded yet is nothing to decide.
    """
    return {
        key: given
        for key, given in by_object(grades).items()
        if len({each.grade for each in given}) > 1 or (key[1] == MISSED and len(given) < len(grades))
    }
