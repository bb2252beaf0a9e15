"""Tables as the migrations make them, in SQLite and in PostgreSQL; backups."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text
from sqlalchemy.exc import DatabaseError

from aberra.errors import ConfigError, InputError
from aberra.server import queue, readings, worklist
from aberra.server.accounts import Person, put_user, sign_in, visitor
from aberra.server.backup import back_up
from aberra.server.database import Database, alembic_config
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
def empty(request, tmp_path):
    """A database without tables."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path}/a.sqlite")
    else:
        made = Database(request.getfixturevalue("cluster"))
        with made.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    yield made
    made.close()


@pytest.fixture
def database(empty):
    empty.migrate()
    return empty


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


FILTERS = (
    {},
    {"text": "c1"},
    {"status": "done"},
    {"detector": "d", "text": "c1"},
    {"status": "unread", "detector": "d", "text": "c1", "number": 2},
)


@pytest.mark.parametrize("wanted", FILTERS)
def test_a_page_is_chosen_by_an_index_whatever_the_filter(tmp_path, wanted):
    database = Database(f"sqlite:///{tmp_path}/a.sqlite")
    database.migrate()
    asked = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _keep(*told):
        asked.append(told[2:4])

    with database.reading() as session:
        worklist.page(session, 1, **wanted)
        chosen = [each for each in asked if "FROM cases" in each[0] and "JOIN" not in each[0]]
        assert len(chosen) == 2, "the page's cases or their number, and how many there are of each status"
        for statement, values in chosen:
            connection = session.connection()
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            of_cases = [step for step in plan if re.match(r"(SCAN|SEARCH) cases\b", step)]
            assert of_cases
            assert all("COVERING INDEX" in step for step in of_cases), plan
            of_readings = [step for step in plan if re.match(r"(SCAN|SEARCH) readings\b", step)]
            assert all("SEARCH readings USING COVERING INDEX" in step for step in of_readings), plan
    database.close()


def test_readings_of_the_version_before_keep_their_meaning(empty):
    with empty.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        connection.execute(text(
            "INSERT INTO cases (id, name, place, number, source, sha256, size, uploaded, uploaded_by, truth, detector, status, attempts,"
            " windows_done, windows, changed, model, folder, regions, largest_mm3, reason, warnings, error, search)"
            " VALUES (7, 'c', 'x', 0, 's', '', 1, 0, 'x', FALSE, 'd', 'done', 0, 0, 0, 0, '', '', 2, 0, '', '', '', :long)"
        ), {"long": "ä" * 4000})  # fmt: skip
        connection.execute(text("INSERT INTO users (id, name, role, active, created) VALUES (3, 'ben', 'reader', TRUE, 0)"))  # fmt: skip
        for region, grade in ((0, "accept"), (2, "C1")):
            connection.execute(text(
                f"INSERT INTO readings (id, case_id, user_id, region, grade, note, time) VALUES ({region + 1}, 7, 3, {region}, '{grade}', 'n', 5)"
            ))  # fmt: skip
    empty.migrate()
    with empty.writing() as session:
        rows = list(readings.table(session))
        assert [(row["case"], row["region"], row["x"], row["grade"]) for row in rows] == [
            (7, "", "", "accept"), (7, 2, "", "C1"),
        ]  # fmt: skip
        ben = Person(3, "ben", "reader", "", "")
        readings.put(session, ben, session.get(Case, 7), "1,-2.04,3", grade="C3", text="")
        assert set(readings.of_case(session, ben, 7)["mine"]) == {"case", "2", "1.0,-2.0,3.0"}


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
    client.put("/api/cases/1/readings/case", json={"grade": "accept"})
    assert back_up(server.settings.data, tmp_path / "backup.tar") > 10_000
    send(client, "late.nii.gz", nifti(tmp_path, 40))
    with tarfile.open(tmp_path / "backup.tar") as tar:
        tar.extractall(tmp_path / "again", filter="data")
    again = Parts(tmp_path / "again", detector)
    found = again.client("ben").get("/api/cases/1").json()
    assert found["readings"]["mine"]["case"]["grade"] == "accept"
    assert found["result"]["components"]
    assert again.client("ben").get("/api/cases").json()["total"] == 1
    again.database.close()


def test_what_cannot_be_backed_up(server, tmp_path):
    with pytest.raises(ConfigError, match="lies in the folder"):
        back_up(server.settings.data, server.settings.data / "backup.tar")
    with pytest.raises(InputError, match="pg_dump"):
        back_up(tmp_path, tmp_path / "backup.tar")
