"""Jobs as tasks of Ray, on this machine or on a cluster."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.console import bars
from aberra.devices import cores
from aberra.errors import JobError, NetworkError
from aberra.extras import library
from aberra.jobs.job import ATTEMPTS, Order, called

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aberra.jobs.job import Job, Reply

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # jobs that ask for no GPU choose for themselves
}
"""What Ray reads from the environment."""

STARTS = 2
"""How often Ray is started on this machine; on a busy one its parts may wait too long for each
other."""

AHEAD = 2
"""Tasks a worker that Ray has been given and not done: the next one is there when one ends."""


@dataclass(frozen=True)
class Tasks:
    """Each job a task, while Ray runs: see :func:`session`.

    Attributes:
        at_once: tasks at a time.
        gpus: GPUs of a task.
        threads: of a task.
    """

    at_once: int
    gpus: int = 0
    threads: int = 1

    def do(self, function: Callable[..., Any], jobs: Sequence[Job], *, progress: bool = False) -> list[Any]:
        """As :meth:`aberra.jobs.Engine.do`."""
        ray = import_module("ray")
        task = ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=ATTEMPTS - 1)(called)
        replies: dict[int, Reply | JobError] = {}
        under_way: dict[Any, int] = {}
        to_come = list(enumerate(jobs))[::-1]
        with bars(show=progress, stderr=True) as bar:
            shown = bar.add_task("jobs", total=len(jobs))
            while to_come or under_way:
                while to_come and len(under_way) < AHEAD * self.at_once:
                    index, job = to_come.pop()
                    order = Order(function, job.options, self.threads, str(Path.cwd()))
                    under_way[task.options(name=job.name).remote(order)] = index
                for done in ray.wait(list(under_way))[0]:
                    index = under_way.pop(done)
                    replies[index] = _reply(done, jobs[index].name)
                    bar.advance(shown)
        return [_result(replies[index], job.name) for index, job in enumerate(jobs)]


@contextmanager
def session(address: str = "", at_once: int | None = None, *, gpus: bool = False) -> Iterator[Tasks]:
    """Start Ray on this machine, or connect to a cluster; let go of it at the end.

    Nothing is sent to anybody outside, and there is no dashboard. Where Ray runs in this process
    already, it is used as it is and goes on.

    Args:
        address: ``HOST:PORT`` of a cluster's client server, or ``auto``, the cluster that this machine
            is of; empty starts one here.
        at_once: tasks at a time; None is as many as cores, there or here.
        gpus: each task has a GPU for itself.

    Raises:
        ConfigError: Ray is not installed.
        JobError: Ray does not start here.
        NetworkError: there is no cluster at that address.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if address and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray = library("ray", needed_by="--on ray", extra="scale", package="Ray")
    begun = not ray.is_initialized()
    if begun:
        options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if not address:
            options |= {"num_cpus": at_once or cores(), "include_dashboard": False}
        where = "local" if not address else address if address == "auto" else f"ray://{address}"
        try:
            _start(ray, where, options, tries=1 if address else STARTS)
        except (ConnectionError, ValueError, RuntimeError) as error:
            told = str(error).splitlines()[0]
            if not address:
                raise JobError(
                    f"--on ray: Ray does not start here ({told}); try again, or --on processes"
                ) from error
            raise NetworkError(
                f"--on ray: no cluster answers at {where} ({told}); start it with `ray start --head`"
            ) from error
    try:
        count = at_once or int(ray.cluster_resources().get("CPU", 1))
        threads = 1 if address else max(1, cores() // count)
        yield Tasks(at_once=count, gpus=int(gpus), threads=threads)
    finally:
        if begun:
            ray.shutdown()


def _has_token() -> bool:
    """Whether this machine has a token for a cluster. Ray starts clusters that ask for it wherever one
    is there, but its client shows it only when told to; a cluster that asks for none does not mind.
    """
    return bool(
        os.environ.get("RAY_AUTH_TOKEN")
        or os.environ.get("RAY_AUTH_TOKEN_PATH")
        or (Path.home() / ".ray" / "auth_token").is_file()
    )


def _start(ray: Any, where: str, options: dict[str, Any], *, tries: int) -> None:
    """Start Ray or connect to it."""
    for left in reversed(range(tries)):
        try:
            ray.init(where, **options)
        except (ConnectionError, RuntimeError):
            if not left:
                raise
            ray.shutdown()
        else:
            return


def _reply(done: Any, name: str) -> Reply | JobError:
    """What came of a task that has ended; a worker that was killed has been replaced by then."""
    ray = import_module("ray")
    try:
        reply: Reply = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        return JobError(f"{name}: {type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:
        return JobError(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    return reply


def _result(reply: Reply | JobError, name: str) -> Any:
    if isinstance(reply, JobError):
        raise reply
    return reply.result(name)
