"""Functions of a module for processes that a test starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from aberra.errors import ManifestError


def where(number):
    import torch

    print("not the reply")  # noqa: T201
    return number, os.getpid(), torch.get_num_threads(), str(Path.cwd())


def killed_at_first(mark, number):
    """The first process that does this dies of it, as if it had been short of memory."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def always_killed(number):
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def refused(number):
    raise ManifestError("rows.csv", [f"row {number}: no"])


def unforeseen(number):
    return 1 // (number - number)


def killed_midway(mark, function, options):
    """The first process that does this is killed as soon as it has saved one result."""
    from aberra.result import Result

    save = Result.save

    def deadly(self, *arguments, **more):
        save(self, *arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    if not mark.exists():
        mark.touch()
        Result.save = deadly
    return function(**options)
