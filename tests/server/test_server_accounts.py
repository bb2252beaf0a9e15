"""Accounts: passwords, sessions, tries, and what a name may be."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from aberra.errors import ConfigError
from aberra.server import accounts
from aberra.server.accounts import TooManyTriesError, put_user, sign_in, visitor
from aberra.server.tables import Attempt, User, Visit

PASSWORD = "correct horse battery"


def test_passwords_and_sessions_are_kept_as_hashes(server):
    token = sign_in(server.database, "ben", PASSWORD, "here")
    with server.database.reading() as session:
        stored = session.scalar(select(User.password).where(User.name == "ben"))
        visit = session.scalar(select(Visit.token))
    assert stored.startswith("$argon2id$")
    assert token not in visit
    assert visitor(server.database, token).name == "ben"
    assert visitor(server.database, visit) is None


@pytest.mark.parametrize(
    ("name", "password"), [("ben", "wrong"), ("nobody", PASSWORD), ("ben", ""), ("", "")]
)
def test_a_wrong_name_or_password_gives_no_session(server, name, password):
    assert sign_in(server.database, name, password, "here") is None


def test_tries_are_limited_by_name_and_by_address(server, monkeypatch):
    monkeypatch.setattr(accounts, "TRIES_OF_ADDRESS", 14)
    for _ in range(accounts.TRIES):
        assert sign_in(server.database, "ben", "wrong", "here") is None
    with pytest.raises(TooManyTriesError):
        sign_in(server.database, "ben", PASSWORD, "here")
    assert sign_in(server.database, "ben", PASSWORD, "elsewhere")
    for number in range(4):
        assert sign_in(server.database, f"guess{number}", "wrong", "here") is None
    with pytest.raises(TooManyTriesError):
        sign_in(server.database, "ada", PASSWORD, "here")
    with server.database.writing() as session:
        session.execute(update(Attempt).values(time=Attempt.time - accounts.WINDOW))
    assert sign_in(server.database, "ada", PASSWORD, "here")


@pytest.mark.parametrize("column", ["seen", "created"])
def test_sessions_end(server, column):
    token = sign_in(server.database, "ben", PASSWORD, "here")
    longest = accounts.IDLE if column == "seen" else accounts.LONGEST
    with server.database.writing() as session:
        session.execute(update(Visit).values({column: getattr(Visit, column) - longest - 1}))
    assert visitor(server.database, token) is None


def test_a_change_of_an_account_ends_its_sessions(server):
    token = sign_in(server.database, "ben", PASSWORD, "here")
    assert not put_user(server.database, "ben", password="another password")
    assert visitor(server.database, token) is None
    assert sign_in(server.database, "ben", PASSWORD, "here") is None
    assert sign_in(server.database, "ben", "another password", "here")
    put_user(server.database, "ben", active=False)
    assert sign_in(server.database, "ben", "another password", "here") is None
    put_user(server.database, "ben", role="admin")
    assert visitor(server.database, sign_in(server.database, "ben", "another password", "here")).is_admin


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("a b", {}), ("", {}), ("x" * 65, {}), ("ok", {"role": "root"}), ("ok", {"password": "short"})],
)
def test_what_an_account_cannot_be(server, name, wrong):
    with pytest.raises(ConfigError):
        put_user(server.database, name, **wrong)
