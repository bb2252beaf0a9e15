"""Jobs in processes of this machine."""

from __future__ import annotations

import os
import pickle  # between a process and the ones that it starts; no file is one
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.console import bars
from aberra.devices import cores
from aberra.errors import JobError
from aberra.jobs.job import ATTEMPTS, Order, called

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aberra.jobs.job import Job, Reply

CHILD = "from aberra.jobs.processes import answer; answer()"


@dataclass(frozen=True)
class Processes:
    """Each job in a process of its own, as many beside each other as are asked for.

    Attributes:
        at_once: processes; the machine's cores are shared out among them.
    """

    at_once: int

    def do(self, function: Callable[..., Any], jobs: Sequence[Job], *, progress: bool = False) -> list[Any]:
        """As :meth:`aberra.jobs.Engine.do`; Ctrl-C goes to the processes, too."""
        threads = max(1, cores() // self.at_once)
        pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="aberra-job")
        try:
            orders = [Order(function, job.options, threads, str(Path.cwd())) for job in jobs]
            ended = [pool.submit(_ended, job.name, order) for job, order in zip(jobs, orders, strict=True)]
            with bars(show=progress, stderr=True) as bar:
                task = bar.add_task("jobs", total=len(ended))
                for _ in as_completed(ended):
                    bar.advance(task)
        finally:
            pool.shutdown(cancel_futures=True)
        return [each.result().result(job.name) for each, job in zip(ended, jobs, strict=True)]


def _ended(name: str, order: Order) -> Reply:
    """Send an order to a process of its own and wait for the reply; one that is killed (by the
    system, for want of memory) is begun again.
    """
    command = [sys.executable, "-c", CHILD]
    for _ in range(ATTEMPTS):
        ended = subprocess.run(command, input=pickle.dumps(order), capture_output=True, check=False)  # noqa: S603 - our own
        if ended.returncode >= 0 or ended.returncode == -signal.SIGINT:
            break
    if ended.returncode:
        raise JobError(f"{name}: its process ended with {ended.returncode}: {_last_line(ended.stderr)}")
    reply: Reply = pickle.loads(ended.stdout)  # noqa: S301 - of the process that was started for it
    return reply


def answer() -> None:
    """Do what another process asks on standard input, reply on standard output, and end."""
    order = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started it
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what a job prints is no reply
        pickle.dump(called(order), out)


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
