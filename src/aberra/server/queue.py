"""Which case is whose turn: a case is taken by one update, for as long as its worker says it lives.

A worker renews its lease while it works. One that was killed does not, and its case is taken again.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select, update

from aberra.server.tables import Case

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from aberra.server.database import Database

LEASE = 15.0
"""Seconds for which a case is its worker's."""

TRIES = 3
"""Workers that a case may end before it is given up."""

GIVEN_UP = f"ended {TRIES} workers, perhaps for want of memory; see the server's log"


def take(database: Database, worker: str) -> Case | None:
    """Take the case that waits longest, or one whose worker is gone; None where there is none."""
    now = time()
    free = or_(Case.status == "queued", and_(Case.status == "running", Case.lease < now))
    first = select(Case.id).where(free).order_by(Case.id).limit(1).with_for_update(skip_locked=True)
    with database.writing() as session:
        found = session.scalar(
            update(Case)
            .where(Case.id == first.scalar_subquery(), free)
            .values(
                status="running", worker=worker, lease=now + LEASE, attempts=Case.attempts + 1, windows_done=0, windows=0,
                started=now, changed=now,
            )
            .returning(Case)
        )  # fmt: skip
        if found is None or found.attempts <= TRIES:
            return found
    finish(database, found.id, worker, status="failed", error=GIVEN_UP)
    return take(database, worker)


def renew(database: Database, case: int, worker: str, **progress: int) -> bool:
    """Keep a case, and tell how far it is; returns whether it is still this worker's."""
    now = time()
    changed = {"changed": now} if progress else {}
    return _set(database, case, worker, {"lease": now + LEASE, **changed, **progress})


def finish(database: Database, case: int, worker: str, *, status: str, **found: Any) -> bool:
    """Say what came of a case; returns whether it was still this worker's."""
    now = time()
    ended = {"status": status, "worker": None, "lease": None, "finished": now, "changed": now}
    return _set(database, case, worker, ended | found)


def again(session: Session, case: int, detector: str) -> None:
    """Queue a case once more, in the transaction of whoever asks for it."""
    session.execute(
        update(Case)
        .where(Case.id == case)
        .values(
            status="queued", detector=detector, attempts=0, error="", changed=time(), score=None, p=None, regions=0,
            largest_mm3=0.0, reason="", warnings="", model="", folder="",
        )
    )  # fmt: skip


def _set(database: Database, case: int, worker: str, values: dict[str, Any]) -> bool:
    mine = and_(Case.id == case, Case.worker == worker, Case.status == "running")
    with database.writing() as session:
        return session.execute(update(Case).where(mine).values(values).returning(Case.id)).first() is not None
