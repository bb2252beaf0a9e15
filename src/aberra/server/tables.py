"""The tables. A case is its own job: the queue is a column, so that the two cannot disagree.

Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Status = Literal["queued", "running", "done", "failed"]
STATES: tuple[Status, ...] = ("queued", "running", "done", "failed")
ROLES = ("reader", "admin")

WHOLE = -1
"""Region number of the case as a whole."""

SEARCHED = 500
"""Characters of a case that are searched; an entry of PostgreSQL's index has 2,700 bytes at most."""


class Base(DeclarativeBase):
    """What all tables share."""


class User(Base):
    """Somebody with an account; ``password`` is an argon2 hash, None where a proxy signs in."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    password: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[float]


class Visit(Base):
    """A session: SHA-256 of the cookie's token, and the token that changes must be sent with."""

    __tablename__ = "visits"
    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]
    seen: Mapped[float] = mapped_column(index=True)


class Attempt(Base):
    """A login that failed."""

    __tablename__ = "attempts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    time: Mapped[float] = mapped_column(index=True)


class Case(Base):
    """One scan and what was found in it.

    ``place`` is the upload's folder and ``number`` the scan in it; ``source`` is its path in the
    folder ``files`` of that. ``detector`` is what was asked for, ``model`` what answered,
    and ``search`` the small letters of all that is searched, at most :data:`SEARCHED` of them.

    ``cases_ranked`` and ``cases_filtered`` hold all that a page of the worklist is chosen by: no case
    is looked up that is not on it.
    """

    __tablename__ = "cases"
    __table_args__ = (
        UniqueConstraint("place", "number"),
        Index("cases_ranked", "p", "score", "id", "status", "detector", "search"),
        Index("cases_filtered", "status", "p", "score", "id", "detector", "search"),
        Index("cases_queue", "status", "lease", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    place: Mapped[str] = mapped_column(String(32))
    number: Mapped[int]
    source: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    uploaded: Mapped[float]
    uploaded_by: Mapped[str] = mapped_column(String(64))
    truth: Mapped[bool] = mapped_column(default=False)

    detector: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16), default="queued")
    worker: Mapped[str | None] = mapped_column(String(64))
    lease: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    windows_done: Mapped[int] = mapped_column(default=0)
    windows: Mapped[int] = mapped_column(default=0)
    started: Mapped[float | None]
    finished: Mapped[float | None]
    changed: Mapped[float] = mapped_column(index=True)

    model: Mapped[str] = mapped_column(String(200), default="")
    folder: Mapped[str] = mapped_column(Text, default="")
    score: Mapped[float | None]
    p: Mapped[float | None]
    regions: Mapped[int] = mapped_column(default=0)
    largest_mm3: Mapped[float] = mapped_column(default=0.0)
    reason: Mapped[str] = mapped_column(Text, default="")
    warnings: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(Text, default="")
    search: Mapped[str] = mapped_column(Text, default="")


class Reading(Base):
    """What one reader says of one region of a case, of a finding that no region lies on
    (:data:`aberra.grades.MISSED`, with its ``place``), or of the case as a whole (:data:`WHOLE`).
    """

    __tablename__ = "readings"
    __table_args__ = (
        UniqueConstraint("case_id", "user_id", "region", "place"),
        Index("readings_of_reader", "user_id", "region", "case_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    region: Mapped[int]
    place: Mapped[str] = mapped_column(String(64), default="")
    grade: Mapped[str] = mapped_column(String(32))
    note: Mapped[str] = mapped_column(Text, default="")
    time: Mapped[float]

    @property
    def at(self) -> tuple[float, ...]:
        """The ``place`` in mm, (x, y, z); empty of what has none."""
        return tuple(map(float, self.place.split(","))) if self.place else ()


class Removal(Base):
    """Files of a case that has been deleted, until they are gone; ``source`` as the case had it."""

    __tablename__ = "removals"
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(String(32))
    number: Mapped[int]
    source: Mapped[str] = mapped_column(Text)


class Entry(Base):
    """A line of the audit trail; the database itself refuses to change or delete one."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(String(64))
    what: Mapped[str] = mapped_column(String(32))
    case_id: Mapped[int | None] = mapped_column(index=True)
    region: Mapped[int | None]
    before: Mapped[str] = mapped_column(Text, default="")
    after: Mapped[str] = mapped_column(Text, default="")
