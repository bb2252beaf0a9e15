"""What readers say: each has readings of their own, and every change is in the audit trail.

A reading is of a *target*: ``case``, the number of a region, from 1 as in the result, or, of a finding
that no region lies on, its place, ``x,y,z`` in mm.
"""

from __future__ import annotations

import json
from math import isfinite
from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from aberra.errors import AberraError, ConfigError, expect_known
from aberra.grades import GRADES, MEDICAL, MISSED
from aberra.server.audit import note
from aberra.server.tables import WHOLE, Case, Reading, User
from aberra.server.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from aberra.server.accounts import Person

CASE = "case"
"""Target: the case as a whole."""

DECISIONS = {"accept": "the scan is unusual", "reject": "nothing in it is"}
"""What is said of the case as a whole; of a region, one of :data:`aberra.grades.GRADES`."""

LONGEST = 4000
"""Characters of a note."""

FURTHEST = 10_000.0
"""Millimetres from the origin of a scan, at which nobody has a finding."""

COLUMNS = ("case", "name", "model", "p", "score", "region", "x", "y", "z", "reader", "grade", "note", "time")


class NotReadyError(AberraError):
    """A case has no result that could be read, or is being analysed."""


def put(session: Session, person: Person, case: Case, target: str, *, grade: str, text: str) -> None:
    """Say something of a case, in the place of what the same reader has said before.

    Args:
        session: a transaction that writes.
        person: the reader.
        case: a finished one.
        target: see above.
        grade: of :data:`DECISIONS` for the case, of :data:`aberra.grades.GRADES` for a region, of
            :data:`aberra.grades.MEDICAL` for a missed finding; empty, with an empty note, takes back
            what was said.
        text: a note.

    Raises:
        ConfigError: there is no such target or grade, or the note is too long.
        NotReadyError: the case is not finished.
    """
    if case.status != "done":
        raise NotReadyError(f"case {case.id} is {case.status}; only finished cases can be read")
    region, place = _target(case, target)
    if grade:
        expect_known("grade", [grade], {WHOLE: DECISIONS, MISSED: MEDICAL}.get(region, GRADES))
    if len(text) > LONGEST:
        raise ConfigError(f"the note has {len(text)} characters, at most {LONGEST}")
    mine = (
        Reading.case_id == case.id,
        Reading.user_id == person.id,
        Reading.region == region,
        Reading.place == place,
    )
    found = session.scalar(select(Reading).where(*mine))
    before = "" if found is None else _told(found.grade, found.note, place)
    after = _told(grade, text, place)
    if before == after:
        return
    of = None if region == WHOLE else region
    note(session, person.name, "reading", case=case.id, region=of, before=before, after=after)
    if not after:
        session.execute(delete(Reading).where(*mine))
        return
    if found is None:
        found = Reading(case_id=case.id, user_id=person.id, region=region, place=place)
        session.add(found)
    found.grade, found.note, found.time = grade, text, time()
    session.flush()


def of_case(session: Session, person: Person, case: int) -> dict[str, Any]:
    """A reader's own readings by target, and for an admin everybody's."""
    rows = session.execute(
        select(Reading, User.name)
        .join(User)
        .where(Reading.case_id == case)
        .order_by(User.name, Reading.region, Reading.id)
    )
    every = [(reading, name) for reading, name in rows if person.is_admin or reading.user_id == person.id]
    found: dict[str, Any] = {
        "mine": {
            told["target"]: told for each, _ in every if each.user_id == person.id and (told := _shown(each))
        }
    }
    if person.is_admin:
        found["all"] = [{"reader": name, **_shown(each)} for each, name in every]
    return found


def table(session: Session) -> Iterator[dict[str, Any]]:
    """Everybody's readings, a row each: of the case ``region`` is empty, of a missed finding it is 0
    and ``x``, ``y``, ``z`` say where.
    """
    query = (
        select(Reading, User.name, Case)
        .join(User)
        .join(Case)
        .order_by(Case.id, User.name, Reading.region, Reading.id)
    )
    for reading, reader, case in session.execute(query):
        facts = {"case": case.id, "name": case.name, "model": case.model, "p": case.p, "score": case.score}
        said = {"reader": reader, "grade": reading.grade, "note": reading.note, "time": iso(reading.time)}
        region = "" if reading.region == WHOLE else reading.region
        place = dict(zip("xyz", reading.at or ("", "", ""), strict=True))
        yield facts | {"region": region} | place | said


def is_read(session: Session, case: int) -> bool:
    """Whether anybody has said anything of a case."""
    return session.scalar(select(Reading.id).where(Reading.case_id == case).limit(1)) is not None


def _target(case: Case, target: str) -> tuple[int, str]:
    """Region and place of a target.

    Raises:
        ConfigError: there is none.
    """
    if target == CASE:
        return WHOLE, ""
    if target.isdecimal() and 1 <= int(target) <= case.regions:
        return int(target), ""
    try:
        x, y, z = (round(float(each), 1) + 0.0 for each in target.split(","))
    except ValueError:
        raise ConfigError(
            f"'{target[:60]}': case {case.id} has {case.regions} region(s); expected the number of one, a place x,y,z or '{CASE}'"
        ) from None
    if not all(isfinite(each) and abs(each) < FURTHEST for each in (x, y, z)):
        raise ConfigError(f"'{target[:60]}': expected a place in the scan, x,y,z in mm")
    return MISSED, f"{x:.1f},{y:.1f},{z:.1f}"


def _told(grade: str, text: str, place: str) -> str:
    said = {"grade": grade, "note": text} | ({"at": place} if place else {})
    return json.dumps(said, ensure_ascii=False) if grade or text else ""


def _shown(reading: Reading) -> dict[str, Any]:
    target = CASE if reading.region == WHOLE else reading.place or str(reading.region)
    return {"target": target, "grade": reading.grade, "note": reading.note, "time": iso(reading.time)}
