"""Deleting a case: first what the database knows of it, in one transaction, then its files.

What waits for removal is in the database, too, so that a server that is killed in between goes on when
it starts again, and removes nothing that nobody has deleted.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from aberra.files import writing
from aberra.server.audit import note
from aberra.server.readings import NotReadyError
from aberra.server.tables import Case, Reading, Removal
from aberra.server.uploads import FILES
from aberra.server.worker import SCAN, TRUTH

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from aberra.server.database import Database
    from aberra.server.settings import Settings


def delete_case(session: Session, case: Case, who: str) -> None:
    """Delete a case and its readings, and note that its files are to go; the audit trail stays.

    Args:
        session: a transaction that writes.
        case: which no worker has at the moment, held against others in the transaction.
        who: deletes it.

    Raises:
        NotReadyError: it is being analysed.
    """
    if case.status == "running":
        raise NotReadyError(f"case {case.id} is being analysed; delete it when that has ended")
    read = session.scalar(select(func.count()).select_from(Reading).where(Reading.case_id == case.id))
    was = f"{case.name} ({case.detector}, {case.status}, SHA-256 {case.sha256}, {read} reading(s))"
    note(session, who, "delete", case=case.id, before=was)
    session.execute(delete(Reading).where(Reading.case_id == case.id))
    session.add(Removal(place=case.place, number=case.number, source=case.source))
    session.delete(case)


def remove_files(settings: Settings, database: Database) -> None:
    """Remove the files of all cases that have been deleted.

    What a zip has brought goes with each of its scans as far as no other one needs it, and with the
    last of them altogether.

    Raises:
        OutputError: the system refuses; it is tried again at the next deletion and start.
    """
    with database.reading() as session:
        waiting = list(session.scalars(select(Removal)))
    for removal in waiting:
        with database.reading() as session:
            others = list(session.scalars(select(Case.source).where(Case.place == removal.place)))
        upload = settings.uploads / removal.place
        for path in _of_case(upload, removal, others) if others else [upload]:
            _remove(path)
        _remove(settings.results / f"{removal.place}-{removal.number}")
        with database.writing() as session:
            session.execute(delete(Removal).where(Removal.id == removal.id))


def _of_case(upload: Path, removal: Removal, others: list[str]) -> list[Path]:
    """What of an upload is of one scan alone."""
    source = upload / FILES / removal.source
    shared = any((upload / FILES / other).is_relative_to(source) for other in others)
    own = [upload / SCAN.format(removal.number), upload / TRUTH.format(removal.number)]
    return own if shared else [*own, source]


def _remove(path: Path) -> None:
    with writing(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
