"""``aberra benchmark`` as a user runs it: the whole catalogue on the smoke suite, and a run that is
killed.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from aberra.method import catalogue

pytestmark = pytest.mark.e2e


@pytest.mark.slow  # ten minutes; each method is trained by the conformance suite, too
@pytest.mark.timeout(2400)
def test_every_method_of_the_catalogue_trains_and_is_tabulated_on_the_smoke_suite(run, tmp_path):
    out = tmp_path / "smoke"
    done = run("benchmark", "smoke", "--out", out, timeout=2300)
    assert "0 row(s) failed, 0 task(s) skipped" in done.stdout
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    measured = {row["method"] for row in rows if row["metric"] == "AP" and row["cohort"] == "lesions"}
    assert measured == set(catalogue())
    assert {row["metric"] for row in rows if row["cohort"] == "healthy"} >= {"l1-RE_N"}
    page = (out / "tables" / "index.html").read_text()
    assert all(f">{name}<" in page for name in catalogue())
    assert (out / "figures" / "ap-phantom.png").stat().st_size > 10_000


def test_a_killed_benchmark_goes_on_at_the_unfinished_cell(run, environment, tmp_path):
    out = tmp_path / "killed"
    rows = ("--only", "random", "--only", "intensity", "--only", "pca")
    process = subprocess.Popen(
        [sys.executable, "-m", "aberra", "benchmark", "smoke", "--out", str(out), *rows],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    deadline = time.monotonic() + 200
    while not any(out.glob("cells/*/*/*.json")):
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/*.json")}

    refused = run("benchmark", "smoke", "--out", out, *rows, check=False)
    assert refused.returncode == 1
    assert "--resume" in refused.stderr
    done = run("benchmark", "smoke", "--out", out, *rows, "--resume")
    assert f"{6 - len(finished)} cell(s) measured, {len(finished)} kept" in done.stdout
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())


def test_mistakes_in_a_suite_are_one_line(call, tmp_path):
    for arguments, message in (
        (("smok",), "Did you mean 'smoke'"),
        (("smoke", "--only", "vea"), "Did you mean 'vae'"),
        (("smoke", "--set", "budget.hours=1"), "budget"),
    ):
        done = call("benchmark", *arguments, "--out", tmp_path / "out", check=False)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
