"""The audit trail: who did what to which case, when, with what was before and what is after."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from aberra.server.tables import Entry
from aberra.server.times import iso

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PAGE = 200
"""Entries at once."""


def note(
    session: Session,
    who: str,
    what: str,
    *,
    case: int | None = None,
    region: int | None = None,
    before: str = "",
    after: str = "",
) -> None:
    """Add a line, in the transaction of what it tells."""
    session.add(
        Entry(time=time(), who=who, what=what, case_id=case, region=region, before=before, after=after)
    )


def entries(session: Session, *, case: int | None = None, before: int | None = None) -> list[dict[str, Any]]:
    """The last lines, newest first.

    Args:
        session: of the database.
        case: only of this one.
        before: only lines with a smaller number, for the next page.
    """
    query = select(Entry).order_by(Entry.id.desc()).limit(PAGE)
    if case is not None:
        query = query.where(Entry.case_id == case)
    if before is not None:
        query = query.where(Entry.id < before)
    return [
        {
            "id": each.id,
            "time": iso(each.time),
            "who": each.who,
            "what": each.what,
            "case": each.case_id,
            "region": each.region,
            "before": each.before,
            "after": each.after,
        }
        for each in session.scalars(query)
    ]
