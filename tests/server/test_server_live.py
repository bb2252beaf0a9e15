"""Processes of their own: what is finished outlives a kill, and progress is told as it happens."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from aberra import Result
from aberra.server.accounts import put_user
from aberra.server.database import Database
from aberra.server.settings import Settings
from triage import PASSWORD, Live, nifti

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux' /proc"),
]

PATIENCE = 240


@pytest.fixture(scope="module")
def live(tmp_path_factory, detector):
    data = tmp_path_factory.mktemp("live") / "data"
    settings = Settings(data=data)
    settings.claim()
    database = Database(settings.url)
    database.migrate()
    put_user(database, "ben", password=PASSWORD)
    database.close()
    server = Live(data, detector, "--workers", 1).start().sign_in("ben")
    yield server
    server.stop()


def _until(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)
    return found


def _counts(server):
    return server.ask("GET", "/api/cases")["counts"]


def test_nothing_finished_is_lost_by_kills(live, tmp_path, detector):
    """Server and workers are killed at random while scans are sent and read."""
    rng = np.random.default_rng(5)
    sent, said = [], {}
    for seed in range(9):
        sent += live.ask("POST", f"/api/uploads?name=s{seed}.nii.gz", nifti(tmp_path, 50 + seed, 9.0))[
            "cases"
        ]
        if seed % 3 == 2:
            time.sleep(float(rng.uniform(0, 3)))
            if seed == 5:
                for process in live.workers():
                    os.kill(process, signal.SIGKILL)
            else:
                live.kill()
                live.start()
        for case in live.ask("GET", "/api/cases?status=done")["cases"]:
            if case["id"] not in said:
                live.put(f"/api/cases/{case['id']}/readings/1", {"grade": "C2", "note": f"of {case['id']}"})
                said[case["id"]] = f"of {case['id']}"
    _until(lambda: _counts(live) == {"done": len(sent)})
    workers = live.workers()
    live.kill()
    _until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers))
    live.start()
    live.kill()  # while its worker begins
    live.start()
    assert sent == list(range(1, 10))
    for case in sent:
        found = live.ask("GET", f"/api/cases/{case}")
        assert found["regions"] == len(found["result"]["components"])
        if case in said:
            assert found["readings"]["mine"]["1"]["note"] == said[case]
    for folder in (live.data / "results").iterdir():
        (case,) = [path for path in folder.iterdir() if path.is_dir() and path.name.startswith("s")]
        Result.load(case)
    assert len(list((live.data / "uploads").iterdir())) == len(sent), "leftovers of what was killed are swept"


def test_no_worker_outlives_its_server(live):
    mine = live.workers()
    _until(lambda: [each for each in _orphans() if each not in mine] == [])


def _orphans():
    """Workers of servers of this session that are gone."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command, stat = (process / "cmdline").read_bytes(), (process / "stat").read_text()
            except OSError:
                continue
            if b"aberra.server.worker" in command and stat.rpartition(")")[2].split()[1] == "1":
                found.append(int(process.name))
    return found


def test_progress_is_told(live, tmp_path):
    headers = {"cookie": live.cookie}
    request = urllib.request.Request(f"http://127.0.0.1:{live.port}/api/events", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        case = live.ask("POST", "/api/uploads?name=a.nii.gz", nifti(tmp_path, 60))["cases"][0]
        ends, line = f'data: {{"id": {case}, "status": "done"', ""
        while not line.startswith(ends):
            kind, line = line, events.readline().decode()
    assert kind == "event: case\n"


def test_a_folder_has_one_server(live, detector):
    second = Live(live.data, detector)
    with pytest.raises(AssertionError, match="has ended"):
        second.start()
