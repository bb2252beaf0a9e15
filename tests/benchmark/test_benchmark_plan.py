"""Rows that share trained weights are one job; whoever does the jobs, the results are the same."""

from __future__ import annotations

import csv

import pytest

from aberra.benchmark import Suite, run
from aberra.benchmark.plan import planned, shared_out
from aberra.benchmark.rows import read_cells
from aberra.errors import ConfigError, MismatchError
from aberra.jobs.processes import Processes

ONLY = ("random", "zmap")
MEASURED = {"seconds_per_case", "peak_mb", "training_seconds", "commit", "date"}


@pytest.fixture(scope="module", autouse=True)
def numbers_only():
    """Tables and figures are made of ``results.csv``, whoever measured it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aberra.benchmark.figures.write_figures", lambda *_, **__: None)
        patch.setattr("aberra.benchmark.tables.write_tables", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def suite(suite_file):
    return Suite.load(suite_file)


@pytest.fixture(scope="module")
def here(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("here") / "out"
    return out, run(suite, out, only=ONLY, progress=False)


def _rows(out):
    with (out / "results.csv").open(encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if key not in MEASURED} for row in csv.DictReader(file)
        ]


def test_what_is_trained_together_is_one_job(suite):
    rows = planned(suite, seeds=2, tasks=["phantom"])
    jobs = [[str(row) for row in job] for job in shared_out(suite, rows)]
    assert sorted(each for job in jobs for each in job) == sorted(map(str, rows))
    for seed in (0, 1):
        (job,) = (job for job in jobs if f"phantom / vae / seed {seed}" in job)
        assert job == [f"phantom / vae / seed {seed}", f"phantom / vae, smoothed / seed {seed}"]
    with pytest.raises(ConfigError, match="task of this suite"):
        planned(suite, tasks=["nowhere"])


def test_other_processes_measure_the_same(suite, here, tmp_path):
    out, done = here
    found = run(suite, tmp_path / "out", only=ONLY, on=Processes(2), progress=False)
    assert (found.done, found.kept, found.failed, found.skipped) == (done.done, 0, {}, done.skipped)
    assert _rows(tmp_path / "out") == _rows(out)
    again = run(suite, tmp_path / "out", resume=True, only=ONLY, on=Processes(2), progress=False)
    assert (again.done, again.kept) == (0, done.done)


def test_parts_are_the_whole(suite, here, tmp_path):
    out, done = here
    parts = [
        run(suite, tmp_path / "out", resume=True, only=ONLY, part=f"{number}/2", progress=False)
        for number in (2, 1)
    ]
    assert sum(part.done for part in parts) == done.done
    assert all(part.done for part in parts)
    assert _rows(tmp_path / "out") == _rows(out)
    assert len(read_cells(tmp_path / "out").rows) == len(read_cells(out).rows)
    with pytest.raises(MismatchError, match=r"no part '9/9' of \d job"):
        run(suite, tmp_path / "out", resume=True, only=ONLY, part="9/9", progress=False)
