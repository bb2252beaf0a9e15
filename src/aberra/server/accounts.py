"""Who may come in: accounts, passwords, sessions, and how often a wrong password may be tried."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from secrets import token_urlsafe
from threading import Lock
from time import time
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import delete, func, select, update

from aberra.errors import ConfigError, expect_known
from aberra.server.audit import note
from aberra.server.tables import ROLES, Attempt, User, Visit

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from aberra.server.database import Database

NAME = re.compile(r"[\w.@+-]{1,64}")
SHORTEST = 12
"""Characters of a password."""

IDLE = 8 * 3600.0
"""Seconds after which a session ends that nobody uses."""

LONGEST = 7 * 24 * 3600.0
"""Seconds after which a session ends."""

SEEN = 60.0
"""Seconds between notes that a session is in use; not every picture writes to the database."""

WINDOW = 15 * 60.0
"""Seconds for which a wrong password counts."""

TRIES = 10
"""Wrong passwords for one name from one address."""

TRIES_OF_ADDRESS = 50
"""Wrong passwords from one address."""

_hasher = PasswordHasher()
_one_at_a_time = Lock()  # each takes 64 MiB


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in.

    Attributes:
        id: of the account.
        name: of the account.
        role: ``reader`` or ``admin``.
        csrf: what every change must be sent with.
        visit: the session's key.
    """

    id: int
    name: str
    role: str
    csrf: str
    visit: str

    @property
    def is_admin(self) -> bool:
        """Whether the account sees everybody's readings."""
        return self.role == "admin"


class TooManyTriesError(Exception):
    """Wrong passwords have been tried too often."""


def put_user(
    database: Database,
    name: str,
    *,
    role: str | None = None,
    password: str | None = None,
    active: bool = True,
) -> bool:
    """Add an account, or change the one of this name; its sessions end.

    Args:
        database: of the server.
        name: letters, digits and ``. _ @ + -``.
        role: ``reader`` or ``admin``; None for what it was, at first ``reader``.
        password: None for an account that a proxy signs in, or to leave what is there.
        active: whether it may sign in.

    Returns:
        Whether it is new.

    Raises:
        ConfigError: name, role or password cannot be.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"user '{name}': expected 1 to 64 letters, digits or . _ @ + -")
    expect_known("role", [role or "reader"], ROLES)
    if password is not None and len(password) < SHORTEST:
        raise ConfigError(
            f"user '{name}': the password has {len(password)} characters, expected {SHORTEST} or more"
        )
    hashed = None if password is None else _hash(password)
    with database.writing() as session:
        user = session.scalar(select(User).where(User.name == name))
        before = "" if user is None else _told(user)
        if user is None:
            user = User(name=name, role=role or "reader", password=hashed, active=active, created=time())
            session.add(user)
        else:
            user.role, user.active, user.password = role or user.role, active, hashed or user.password
            session.execute(delete(Visit).where(Visit.user_id == user.id))
        changed = f"{_told(user)}{', new password' if hashed else ''}"
        note(
            session,
            "command line",
            "account",
            before=f"{name}: {before}" if before else "",
            after=f"{name}: {changed}",
        )
        return not before


def users(session: Session) -> list[User]:
    """All accounts."""
    return list(session.scalars(select(User).order_by(User.name)))


def sign_in(database: Database, name: str, password: str, address: str) -> str | None:
    """Check a password and begin a session.

    Returns:
        The session's token; None where name or password is wrong.

    Raises:
        TooManyTriesError: there were too many wrong ones.
    """
    name = name[:64]
    with database.writing() as session:
        session.execute(delete(Attempt).where(Attempt.time < time() - WINDOW))
        _refuse_many(session, name, address)
    with database.reading() as session:
        user = session.scalar(select(User).where(User.name == name))
    right = _verify(user.password if user and user.password else _nobody(), password)
    if not right or user is None or not user.password or not user.active:
        with database.writing() as session:
            session.add(Attempt(name=name, address=address, time=time()))
            note(session, name, "login refused", after=address)
        return None
    with database.writing() as session:
        session.execute(delete(Attempt).where(Attempt.name == name, Attempt.address == address))
        note(session, name, "login", after=address)
        return begin_visit(session, user.id)


def begin_visit(session: Session, user: int) -> str:
    """Begin a session; returns its token, of which only a hash is kept."""
    now, token = time(), token_urlsafe(32)
    session.execute(delete(Visit).where((Visit.seen < now - IDLE) | (Visit.created < now - LONGEST)))
    session.add(Visit(token=_key(token), user_id=user, csrf=token_urlsafe(32), created=now, seen=now))
    return token


def sign_out(database: Database, person: Person) -> None:
    """End a session."""
    with database.writing() as session:
        session.execute(delete(Visit).where(Visit.token == person.visit))
        note(session, person.name, "logout")


def visitor(database: Database, token: str) -> Person | None:
    """Whose session a cookie is; None where it is nobody's, too old, or the account is closed."""
    now, key = time(), _key(token)
    with database.reading() as session:
        row = session.execute(
            select(User.id, User.name, User.role, Visit.csrf, Visit.seen)
            .join(Visit, Visit.user_id == User.id)
            .where(Visit.token == key, User.active, Visit.seen > now - IDLE, Visit.created > now - LONGEST)
        ).one_or_none()
    if row is None:
        return None
    if row.seen < now - SEEN:
        with database.writing() as session:
            session.execute(update(Visit).where(Visit.token == key).values(seen=now))
    return Person(row.id, row.name, row.role, row.csrf, key)


def named(database: Database, name: str) -> User | None:
    """The open account of somebody whom a proxy has signed in."""
    with database.reading() as session:
        return session.scalar(select(User).where(User.name == name, User.active))


def _refuse_many(session: Session, name: str, address: str) -> None:
    from_there = select(func.count()).select_from(Attempt).where(Attempt.address == address)
    if (session.scalar(from_there) or 0) >= TRIES_OF_ADDRESS or (
        session.scalar(from_there.where(Attempt.name == name)) or 0
    ) >= TRIES:
        raise TooManyTriesError


def _told(user: User) -> str:
    return f"{user.role}{'' if user.active else ', closed'}"


def _key(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _hash(password: str) -> str:
    with _one_at_a_time:
        return _hasher.hash(password)


@cache
def _nobody() -> str:
    """A hash that no password has, so that a wrong name takes as long as a wrong password."""
    return _hash(token_urlsafe(32))


def _verify(hashed: str, password: str) -> bool:
    with _one_at_a_time:
        try:
            return _hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return False
