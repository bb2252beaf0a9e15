"""What the readers' grades amount to: how many regions have each grade, and what was missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from aberra.grades import HITS, MISSED, Grade, by_object, consensus
from aberra.metrics.findings import by_grade
from aberra.server.tables import WHOLE, Case, Reading, User

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from aberra.grades import Key


def summary(session: Session) -> dict[str, Any]:
    """Numbers over all finished cases.

    A region counts with the grade that most of its readers gave, as in ``aberra findings``; missed
    findings of two readers are one where they lie within :data:`aberra.grades.NEAR_MM`.

    Returns:
        ``cases`` (finished), ``read`` (accepted or rejected by anybody), ``grades``
        (:func:`aberra.metrics.findings.by_grade`), ``sensitivity`` (share of the findings that a
        region lies on; None without any), ``undecided`` (regions and missed findings of which as many
        readers say this as that) and ``missed``, a row each.
    """
    said = by_object(_grades(session))
    decided = {key: grade for key, given in said.items() if (grade := consensus(given)) is not None}
    counted = [(case, number, grade) for (case, number, _), grade in decided.items()]
    hits = [number != MISSED for _, number, grade in counted if grade in HITS]
    names = dict(session.execute(select(Case.id, Case.name)).all())
    done = select(func.count()).select_from(Case).where(Case.status == "done")
    read = select(func.count(Reading.case_id.distinct())).where(Reading.region == WHOLE)
    return {
        "cases": session.scalar(done),
        "read": session.scalar(read),
        "grades": by_grade(counted),
        "sensitivity": sum(hits) / len(hits) if hits else None,
        "undecided": len(said) - len(decided),
        "missed": [
            {
                "case": int(key[0]), "name": names[int(key[0])], "place": key[2], "grade": decided.get(key),
                "readers": [f"{each.reader}: {each.grade}" for each in given], "notes": [each.note for each in given if each.note],
            }
            for key, given in said.items()
            if key[1] == MISSED
        ],
    }  # fmt: skip


def _grades(session: Session) -> dict[str, dict[Key, Grade]]:
    """Reader to grades of regions and of missed findings; a note alone is none."""
    found: dict[str, dict[Key, Grade]] = {}
    rows = session.execute(
        select(Reading, User.name).join(User).where(Reading.region != WHOLE, Reading.grade != "")
    )
    for reading, reader in rows:
        x, y, z = reading.at or (None, None, None)
        grade = Grade(
            reader=reader,
            case=str(reading.case_id),
            object=reading.region,
            grade=reading.grade,
            note=reading.note,
            x=x,
            y=y,
            z=z,
        )
        found.setdefault(reader, {})[grade.key] = grade
    return found
