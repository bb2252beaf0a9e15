"""Who does the jobs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aberra.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aberra.jobs.job import Job

ENGINES = ("processes", "ray", "ray://HOST:PORT")


@runtime_checkable
class Engine(Protocol):
    """Does jobs that do not depend on each other.

    Attributes:
        at_once: how many jobs are done at a time.
    """

    @property
    def at_once(self) -> int:
        """How many jobs are done at a time."""
        ...

    def do(self, function: Callable[..., Any], jobs: Sequence[Job], *, progress: bool = False) -> list[Any]:
        """Call a function of a module with the options of each job.

        A job whose process is killed is begun again, :data:`aberra.jobs.job.ATTEMPTS` times in all.

        Args:
            function: keeps what it has finished in files, so that it may be called again.
            jobs: in any order.
            progress: show a progress bar of the jobs.

        Returns:
            What it gave, job by job.

        Raises:
            AberraError: what the first job that failed said, once all have ended.
            JobError: a process could not go on, or was killed too often.
        """
        ...


@dataclass(frozen=True)
class Here:
    """One job after the other, in this process."""

    at_once: int = 1

    def do(self, function: Callable[..., Any], jobs: Sequence[Job], *, progress: bool = False) -> list[Any]:
        """As :meth:`Engine.do`; what goes wrong is raised at once, as it is."""
        del progress  # the function shows its own
        return [function(**job.options) for job in jobs]


HERE = Here()


@contextmanager
def engine(on: str | None, at_once: int | None = None, *, gpus: bool = False) -> Iterator[Engine]:
    """The engine of a name, ready while the context lasts.

    Args:
        on: ``processes``; ``ray``, which starts Ray on this machine; ``ray://HOST:PORT`` or
            ``ray://auto``, a cluster that is there; None is this process.
        at_once: jobs at a time; None is as many as cores.
        gpus: each job has a GPU for itself, on Ray.

    Raises:
        ConfigError: an unknown name, or Ray is not installed.
        JobError: Ray does not start here.
        NetworkError: there is no cluster at that address.
    """
    if not on:
        yield HERE
    elif on == "processes":
        from aberra.devices import cores
        from aberra.jobs.processes import Processes

        yield Processes(at_once or cores())
    elif on == "ray" or on.startswith("ray://"):
        from aberra.jobs.ray import session

        with session(on.partition("://")[2], at_once, gpus=gpus) as ray:
            yield ray
    else:
        raise unknown("engine", on, ENGINES)
