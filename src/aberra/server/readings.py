"""What readers say: each has readings of their own, and every change is in the audit trail."""

from __future__ import annotations

import json
from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from aberra.errors import AberraError, ConfigError, expect_known
from aberra.grades import GRADES
from aberra.server.audit import note
from aberra.server.tables import Case, Reading, User
from aberra.server.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from aberra.server.accounts import Person

WHOLE = 0
"""Region number of the case as a whole."""

DECISIONS = {"accept": "the scan is unusual", "reject": "nothing in it is"}
"""What is said of the case as a whole; of a region, one of :data:`aberra.grades.GRADES`."""

LONGEST = 4000
"""Characters of a note."""

COLUMNS = ("case", "name", "model", "p", "score", "region", "reader", "grade", "note", "time")


class NotReadyError(AberraError):
    """A case has no result that could be read."""


def put(session: Session, person: Person, case: Case, region: int, *, grade: str, text: str) -> None:
    """Say something of a region of a case, in the place of what the same reader has said before.

    Args:
        session: a transaction that writes.
        person: the reader.
        case: a finished one.
        region: from 1, as in the result; 0 is the case as a whole.
        grade: of :data:`DECISIONS` for the case, of :data:`aberra.grades.GRADES` for a region;
            empty, with an empty note, takes back what was said.
        text: a note.

    Raises:
        ConfigError: there is no such region or grade, or the note is too long.
        NotReadyError: the case is not finished.
    """
    if case.status != "done":
        raise NotReadyError(f"case {case.id} is {case.status}; only finished cases can be read")
    if not 0 <= region <= case.regions:
        raise ConfigError(f"region {region}: case {case.id} has {case.regions}")
    if grade:
        expect_known("grade", [grade], DECISIONS if region == WHOLE else GRADES)
    if len(text) > LONGEST:
        raise ConfigError(f"the note has {len(text)} characters, at most {LONGEST}")
    mine = (Reading.case_id == case.id, Reading.user_id == person.id, Reading.region == region)
    found = session.scalar(select(Reading).where(*mine))
    before, after = "" if found is None else _told(found.grade, found.note), _told(grade, text)
    if before == after:
        return
    note(session, person.name, "reading", case=case.id, region=region, before=before, after=after)
    if not after:
        session.execute(delete(Reading).where(*mine))
        return
    if found is None:
        found = Reading(case_id=case.id, user_id=person.id, region=region)
        session.add(found)
    found.grade, found.note, found.time = grade, text, time()
    session.flush()


def of_case(session: Session, person: Person, case: int) -> dict[str, Any]:
    """A reader's own readings by region, and for an admin everybody's."""
    rows = session.execute(
        select(Reading, User.name)
        .join(User)
        .where(Reading.case_id == case)
        .order_by(User.name, Reading.region)
    )
    every = [(reading, name) for reading, name in rows if person.is_admin or reading.user_id == person.id]
    found: dict[str, Any] = {
        "mine": {each.region: _shown(each) for each, _ in every if each.user_id == person.id}
    }
    if person.is_admin:
        found["all"] = [{"reader": name, **_shown(each)} for each, name in every]
    return found


def table(session: Session) -> Iterator[dict[str, Any]]:
    """Everybody's readings, a row each."""
    query = (
        select(Reading, User.name, Case).join(User).join(Case).order_by(Case.id, User.name, Reading.region)
    )
    for reading, reader, case in session.execute(query):
        facts = {"case": case.id, "name": case.name, "model": case.model, "p": case.p, "score": case.score}
        yield facts | {"reader": reader} | _shown(reading)


def is_read(session: Session, case: int) -> bool:
    """Whether anybody has said anything of a case."""
    return session.scalar(select(Reading.id).where(Reading.case_id == case).limit(1)) is not None


def _told(grade: str, text: str) -> str:
    return json.dumps({"grade": grade, "note": text}, ensure_ascii=False) if grade or text else ""


def _shown(reading: Reading) -> dict[str, Any]:
    return {"region": reading.region, "grade": reading.grade, "note": reading.note, "time": iso(reading.time)}
