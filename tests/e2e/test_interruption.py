"""``kill -9`` in the middle of fit and detect loses nothing finished; the rerun completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.e2e


def _killed_when(arguments, ready, environment, timeout=240):
    """Start a command and kill it as soon as ``ready()`` is true."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aberra", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    deadline = time.monotonic() + timeout
    while not ready():
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_fit_goes_on_after_a_kill_bit_for_bit(run, job, small, environment, tmp_path):
    settings = [
        *small,
        "--set",
        "training.steps=60",
        "--set",
        "training.checkpoint_every=5",
        "--set",
        "training.validate_every=20",
    ]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run("fit", "dae", job["healthy"], "--out", straight, *settings)
    metrics = killed / "run" / "metrics.jsonl"
    _killed_when(
        ["fit", "dae", job["healthy"], "--out", killed, *settings],
        lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 3,
        environment,
    )
    assert not (killed / "detector.toml").exists()
    done = run("detect", killed, job["unseen"], "--out", tmp_path / "no", check=False)
    assert "--resume" in done.stderr

    run("fit", "dae", job["healthy"], "--out", killed, *settings, "--resume")

    expected, found = (load_file(folder / "weights.safetensors") for folder in (straight, killed))
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight)


def test_detect_goes_on_after_a_kill_and_keeps_what_was_finished(run, job, environment, tmp_path):
    out = tmp_path / "results"
    _killed_when(
        ["detect", job["model"], job["unseen"], "--out", out],
        lambda: any(out.glob("*/result.json")),
        environment,
    )
    finished = {path: path.stat().st_mtime_ns for path in out.glob("[!.]*/result.json")}
    assert 1 <= len(finished) < 4

    done = run("detect", job["model"], job["unseen"], "--out", out)

    assert f"{len(finished)} kept" in done.stdout
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())
    assert len(list(out.glob("[!.]*/result.json"))) == 4
    assert (out / "report.html").is_file()
