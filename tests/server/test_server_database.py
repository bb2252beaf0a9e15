"""Tables as the migrations make them, in SQLite and in PostgreSQL; backups."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from aberra.errors import ConfigError, InputError
from aberra.server import queue, worklist
from aberra.server.accounts import put_user, sign_in, visitor
from aberra.server.backup import back_up
from aberra.server.database import Database
from aberra.server.tables import Base, Case
from triage import PASSWORD, Parts, free_port, nifti, send

TOOLS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
MISSING = "" if TOOLS and shutil.which("runuser") else "needs the Debian package postgresql"


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL of its own, on loopback; it does not run as root, nor in folders of root's."""
    if MISSING:
        pytest.skip(MISSING)
    pytest.importorskip("psycopg", reason="the extra 'postgresql' is not installed")
    place, port = Path(tempfile.mkdtemp(prefix="aberra-postgresql-")), free_port()
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def run(tool, *arguments):
        subprocess.run(
            [*as_postgres, str(TOOLS[-1] / tool), *arguments],
            check=True,
            capture_output=True,
            timeout=120,
            cwd="/",
        )

    run("initdb", "-D", f"{place}/data", "-U", "aberra", "--auth=trust", "--encoding=UTF8", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {place} -c fsync=off"
    run("pg_ctl", "-D", f"{place}/data", "-w", "-o", options, "-l", f"{place}/log", "start")
    yield f"postgresql+psycopg://aberra@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-D", f"{place}/data", "-w", "-m", "immediate", "stop")
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path}/a.sqlite")
    else:
        made = Database(request.getfixturevalue("cluster"))
        with made.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    made.migrate()
    yield made
    made.close()


def test_migrations_make_the_tables_that_the_code_has(database):
    database.migrate()  # again changes nothing
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_accounts_queue_worklist_and_trail(database):
    put_user(database, "ben", password=PASSWORD)
    assert visitor(database, sign_in(database, "ben", PASSWORD, "here")).name == "ben"
    with database.writing() as session:
        session.add_all(
            Case(
                name=f"c{number}", search=f"c{number}", place=f"{number:032}", number=0, source="x", detector="d", sha256="", size=3 * 10**9,
                uploaded=0.0, uploaded_by="x", changed=0.0,
            )
            for number in range(12)
        )  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda number: queue.take(database, f"w{number}"), range(12)))
    assert sorted(case.id for case in taken) == list(range(1, 13))
    for number, case in enumerate(taken[:6]):
        assert queue.finish(database, case.id, case.worker, status="done", p=number / 10, score=1.0)
    with database.reading() as session:
        found = worklist.page(session, 1, text="C")
        assert [each["p"] for each in found["cases"]] == [number / 10 for number in range(6)] + [None] * 6
        assert found["counts"] == {"done": 6, "running": 6}
        assert worklist.page(session, 1, status="unread")["total"] == 6
    for change in ("UPDATE audit SET who = 'x'", "DELETE FROM audit"):
        with pytest.raises(DatabaseError, match="append-only"), database.writing() as session:
            session.execute(text(change))


@pytest.mark.parametrize("url", ["nonsense", "mysql+nothing://x", "postgresql+psycopg://x@127.0.0.1:1/x"])
def test_a_database_that_cannot_be_used(url):
    with pytest.raises(ConfigError):
        Database(url).migrate()


def test_the_password_of_a_database_is_not_shown():
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigError) as told:
        Database("postgresql+psycopg://x:secret@127.0.0.1:1/x").migrate()
    assert "secret" not in str(told.value)


def test_a_server_is_made_again_of_its_backup(server, tmp_path, detector):
    client = server.client("ben")
    send(client, "a.nii.gz", nifti(tmp_path, 31, 9.0))
    server.work()
    client.put("/api/cases/1/readings/0", json={"grade": "accept"})
    assert back_up(server.settings.data, tmp_path / "backup.tar") > 10_000
    send(client, "late.nii.gz", nifti(tmp_path, 40))
    with tarfile.open(tmp_path / "backup.tar") as tar:
        tar.extractall(tmp_path / "again", filter="data")
    again = Parts(tmp_path / "again", detector)
    found = again.client("ben").get("/api/cases/1").json()
    assert found["readings"]["mine"]["0"]["grade"] == "accept"
    assert found["result"]["components"]
    assert again.client("ben").get("/api/cases").json()["total"] == 1
    again.database.close()


def test_what_cannot_be_backed_up(server, tmp_path):
    with pytest.raises(ConfigError, match="lies in the folder"):
        back_up(server.settings.data, server.settings.data / "backup.tar")
    with pytest.raises(InputError, match="pg_dump"):
        back_up(tmp_path, tmp_path / "backup.tar")
