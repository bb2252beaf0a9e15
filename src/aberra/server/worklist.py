"""The worklist: cases by p-value, a page at a time, with what a reader has said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from aberra.errors import expect_known
from aberra.server.tables import STATES, WHOLE, Case, Reading
from aberra.server.times import iso

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PAGE = 50
"""Cases on a page."""

UNREAD = "unread"
"""Filter: finished, and the reader has not yet accepted or rejected."""

FILTERS = (*STATES, UNREAD)

ORDER = (Case.p.asc().nulls_last(), Case.score.desc().nulls_last(), Case.id.asc())
"""Most unlike healthy scans first; what is not finished comes last, in the order of arrival."""

COUNTED = select(Case.status, func.count().label("cases")).group_by(Case.status)

COLUMNS = (
    Case.id, Case.name, Case.detector, Case.model, Case.status, Case.p, Case.score, Case.regions, Case.largest_mm3, Case.reason,
    Case.warnings, Case.error, Case.windows_done, Case.windows, Case.uploaded, Case.uploaded_by,
)  # fmt: skip


SHOWN = (*(column.key for column in COLUMNS), "grade")


def page(
    session: Session, user: int, *, number: int = 1, status: str = "", detector: str = "", text: str = ""
) -> dict[str, Any]:
    """One page of the worklist.

    Args:
        session: of the database.
        user: whose readings are shown.
        number: of the page, from 1.
        status: one of :data:`FILTERS`, or empty for all.
        detector: as it was asked for, or empty for all.
        text: part of the name, the reason or a warning.

    Returns:
        ``{"cases", "total", "page", "pages", "counts"}``.

    Raises:
        ConfigError: an unknown status.
    """
    total, listed = _listed(session, _wanted(user, status, detector, text), number)
    mine = and_(Reading.case_id == Case.id, Reading.user_id == user, Reading.region == WHOLE)
    rows = session.execute(
        select(*COLUMNS, Reading.grade)
        .outerjoin(Reading, mine)
        .where(Case.id.in_(listed))  # nothing is joined for what is not shown
        .order_by(*ORDER)
    )
    shown = [dict(zip(SHOWN, row, strict=True)) for row in rows]
    return {
        "cases": [row | {"grade": row["grade"] or "", "uploaded": iso(row["uploaded"])} for row in shown],
        "total": total,
        "page": number,
        "pages": max(1, -(-total // PAGE)),
        "counts": {row.status: row.cases for row in session.execute(COUNTED)},
    }


def neighbours(session: Session, case: Case) -> dict[str, int | None]:
    """The finished cases that come before and after one in the worklist."""
    if case.p is None or case.score is None:
        return {"previous": None, "next": None}
    same = Case.p == case.p
    later = or_(
        Case.p > case.p,
        and_(same, Case.score < case.score),
        and_(same, Case.score == case.score, Case.id > case.id),
    )
    sooner = or_(
        Case.p < case.p,
        and_(same, Case.score > case.score),
        and_(same, Case.score == case.score, Case.id < case.id),
    )
    back = (Case.p.desc(), Case.score.asc(), Case.id.desc())
    return {
        "previous": session.scalar(select(Case.id).where(sooner).order_by(*back).limit(1)),
        "next": session.scalar(select(Case.id).where(later).order_by(*ORDER).limit(1)),
    }


def _listed(session: Session, wanted: list[ColumnElement[bool]], number: int) -> tuple[int, list[int]]:
    """How many cases are wanted, and the numbers of those on a page; the first page says both where it
    is not full, since few that match a text are found by looking at all.
    """
    start = PAGE * (number - 1)
    ranked = select(Case.id).where(*wanted).order_by(*ORDER).limit(PAGE).offset(start)
    first = list(session.scalars(ranked)) if number == 1 else []
    if number == 1 and len(first) < PAGE:
        return len(first), first
    total = session.scalar(select(func.count()).select_from(Case).where(*wanted)) or 0
    return total, first or (list(session.scalars(ranked)) if start < total else [])


def _wanted(user: int, status: str, detector: str, text: str) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if status:
        expect_known("status", [status], FILTERS)
        wanted.append(Case.status == ("done" if status == UNREAD else status))
    if status == UNREAD:
        read = select(Reading.case_id).where(Reading.user_id == user, Reading.region == WHOLE)
        wanted.append(Case.id.not_in(read))
    if detector:
        wanted.append(Case.detector == detector)
    if text:
        wanted.append(Case.search.contains(text.casefold(), autoescape=True))
    return wanted
