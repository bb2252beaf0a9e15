"""Whose turn it is: one worker a case, and a case of a killed worker comes back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from aberra.server import queue
from aberra.server.tables import Case


def fill(database, count):
    with database.writing() as session:
        session.add_all(
            Case(
                name=f"c{number}", place=f"{number:032}", number=0, source="x", detector="d", sha256="", size=0, uploaded=0.0,
                uploaded_by="x", changed=0.0,
            )
            for number in range(count)
        )  # fmt: skip


@pytest.fixture
def database(server):
    return server.database


def test_every_case_is_taken_once_in_the_order_of_arrival(database):
    fill(database, 3)
    assert [queue.take(database, "w").id for _ in range(3)] == [1, 2, 3]
    assert queue.take(database, "w") is None


def test_workers_that_ask_at_once_get_different_cases(database):
    fill(database, 20)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda number: queue.take(database, f"w{number % 4}").id, range(20)))
    assert sorted(taken) == list(range(1, 21))


def test_a_lease_that_runs_out_is_taken_over(database, monkeypatch):
    fill(database, 1)
    now = [1000.0]
    monkeypatch.setattr(queue, "time", lambda: now[0])
    assert queue.take(database, "first").id == 1
    now[0] += queue.LEASE - 1
    assert queue.take(database, "second") is None
    assert queue.renew(database, 1, "first", windows_done=3, windows=9)
    now[0] += queue.LEASE - 1
    assert queue.take(database, "second") is None, "it was renewed"
    now[0] += 2
    assert queue.take(database, "second").worker == "second"
    assert not queue.renew(database, 1, "first")
    assert not queue.finish(database, 1, "first", status="failed", error="late")
    assert queue.finish(database, 1, "second", status="done", score=1.0, p=0.5)
    with database.reading() as session:
        case = session.get(Case, 1)
        assert (case.status, case.score, case.worker, case.attempts) == ("done", 1.0, None, 2)


def test_a_case_that_ends_its_workers_is_given_up(database, monkeypatch):
    fill(database, 2)
    now = [1000.0]
    monkeypatch.setattr(queue, "time", lambda: now[0])
    for _ in range(queue.TRIES):
        assert queue.take(database, "w").id == 1
        now[0] += queue.LEASE + 1
    assert queue.take(database, "w").id == 2
    with database.reading() as session:
        case = session.get(Case, 1)
        assert (case.status, case.error) == ("failed", queue.GIVEN_UP)
