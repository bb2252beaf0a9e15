"""Which rows a run of a suite has, and which of them are one job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aberra.benchmark.rows import file_name
from aberra.capabilities import FitsDensity
from aberra.errors import expect_known
from aberra.files import config_hash
from aberra.registry import lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.benchmark.suite import Entry, Suite, Task
    from aberra.method import Method


@dataclass(frozen=True, eq=False)
class Planned:
    """One method in one task with one seed."""

    task: Task
    entry: Entry
    seed: int

    def __str__(self) -> str:
        return f"{self.task.name} / {self.entry.label} / seed {self.seed}"

    @property
    def slug(self) -> str:
        """Label and seed as part of a file name."""
        return f"{file_name(self.entry.label)}-{self.seed}"


Row = TypeVar("Row", bound=Planned)


def planned(
    suite: Suite, *, only: Sequence[str] = (), tasks: Sequence[str] = (), seeds: int | None = None
) -> list[Planned]:
    """The rows that are asked for, task by task and seed by seed; a typo costs no row before it.

    Args:
        suite: what to run.
        only: labels or methods; all without.
        tasks: names; all without.
        seeds: how many of the suite's seeds; None is the suite's.

    Raises:
        ConfigError: an unknown method, task or setting.
    """
    expect_known("task of this suite", tasks, [task.name for task in suite.tasks])
    numbers = suite.seeds if seeds is None else tuple(range(seeds))
    rows = [
        Planned(task, entry, seed)
        for task in suite.tasks
        if not tasks or task.name in tasks
        for seed in numbers
        for entry in suite.entries(task, only)
    ]
    for row in rows:
        if row.entry.name:
            suite.method(row.task, row.entry)
    return rows


def shared_out(suite: Suite, rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in jobs that do not depend on each other: those that use the same trained weights are
    one, so that none is trained twice.
    """
    jobs: dict[str, list[Row]] = {}
    for row in rows:
        jobs.setdefault(_training(suite, row), []).append(row)
    return list(jobs.values())


def _training(suite: Suite, row: Planned) -> str:
    """What rows have in common that share trained weights."""
    if row.entry.detector:
        return str(row)
    method = suite.method(row.task, row.entry)
    name, _, learns = trained_apart(method)
    data = [row.task.train, row.task.validation, row.entry.subjects]
    return config_hash([name, method.learns_from, learns, row.seed, data])


def trained_apart(method: Method) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A method's model, the density of it that is learnt behind the training, and what the training
    depends on.
    """
    name, learns = method.model["name"], method.learnt
    density: dict[str, Any] = {}
    if issubclass(lookup("models", name), FitsDensity):
        density = {key: value for key, value in method.model.items() if key == "density"}
        learns |= {"model": {key: value for key, value in method.model.items() if key != "density"}}
    return name, density, learns
