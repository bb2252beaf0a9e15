"""The command line as a user runs it: separate processes, real folders."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from aberra.cli import main

ENVIRONMENT = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
"""Another number of threads sums in another order: bit-for-bit comparisons need the same
everywhere."""

SMALL = [
    "--set", "prepare.size=32", "--set", "model.network.width=8", "--set", "model.network.depth=2",
    "--set", "training.steps=20", "--set", "training.batch_size=4",
]  # fmt: skip


def aberra(*arguments, check=True, timeout=500, environment=None, **options):
    """Run the command line; return the finished process with its output as text."""
    done = subprocess.run(
        [sys.executable, "-m", "aberra", *map(str, arguments)],
        capture_output=True, text=True, check=False,
        env=ENVIRONMENT | (environment or {}), timeout=timeout, **options,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def aberra_here(*arguments, check=True):
    """The same within this process, which has everything imported already: for what is said and
    left, not for what becomes of a process.
    """
    out, err = StringIO(), StringIO()
    command = ["aberra", *map(str, arguments)]
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
        pytest.MonkeyPatch.context() as patch,
    ):
        warnings.simplefilter("default")  # as in a process of its own
        patch.setattr(sys, "argv", command)
        patch.setenv("COLUMNS", ENVIRONMENT["COLUMNS"])
        with pytest.raises(SystemExit) as left:
            main()
    done = subprocess.CompletedProcess(command, left.value.code or 0, out.getvalue(), err.getvalue())
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def run():
    return aberra


@pytest.fixture(scope="session")
def call():
    return aberra_here


@pytest.fixture(scope="session")
def environment():
    return ENVIRONMENT


@pytest.fixture(scope="session")
def small():
    return SMALL


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """A phantom cohort, a fitted DAE, unseen cases: paths by name."""
    folder = tmp_path_factory.mktemp("job")
    aberra("phantom", folder / "healthy", "--cases", 12, "--spacing", 6, "--seed", 1)
    aberra("phantom", folder / "unseen", "--cases", 4, "--lesions", 0.5, "--spacing", 6, "--seed", 2)
    aberra("fit", "dae", folder / "healthy" / "manifest.csv", "--out", folder / "model", *SMALL)
    return {
        "folder": folder,
        "healthy": folder / "healthy" / "manifest.csv",
        "unseen": folder / "unseen" / "manifest.csv",
        "model": folder / "model",
    }
