"""What a row of results must say about where it was measured."""

from __future__ import annotations

import platform
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from aberra import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def commit() -> str:
    """The commit of the checkout that runs, with ``+`` if it was changed; the version where it is
    no checkout.
    """
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "-C", str(here), *arguments],  # noqa: S607 (git is wherever the user has it)
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + (
            "+" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return f"v{__version__}"


@cache
def machine() -> str:
    """The GPU's name, or the processor and the number of cores."""
    import torch

    from aberra.devices import cores

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {cores()} cores, no GPU"


@dataclass
class Peak:
    """Highest memory use of a block in MiB: of the GPU where there is one, else the process's
    resident set.
    """

    mb: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak memory of a block.

    On Linux the kernel's high-water mark is reset first; elsewhere it is the process's mark so far,
    an upper bound.
    """
    import torch

    peak = Peak()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    try:
        yield peak
    finally:
        peak.mb = round(torch.cuda.max_memory_allocated() / 2**20 if cuda else _mark(), 1)


def _mark() -> float:
    """Return the resident set's high-water mark in MiB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        import resource
        import sys

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (2**20 if sys.platform == "darwin" else 2**10)
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
