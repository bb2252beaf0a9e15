"""A job: one call of a function, whose arguments and answer can be sent to another process."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aberra.errors import AberraError, JobError, MismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

ATTEMPTS = 3
"""How often a job is begun whose process is killed. What it had finished by then it keeps itself."""

AT_A_TIME = 50
"""Most of many like things, such as scans, that make one job: little is lost with it."""


@dataclass(frozen=True)
class Job:
    """What a function is to be called with.

    Attributes:
        name: what people know it by, as in ``member 0``.
        options: the arguments.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Reply(NamedTuple):
    """What came of a job: a value, or kind, message and facts of an error that says what to do."""

    value: Any = None
    refused: tuple[type[AberraError], str, dict[str, Any]] | None = None

    def result(self, name: str) -> Any:
        """The value.

        Raises:
            AberraError: the job's own, with its name before the message.
        """
        if self.refused is None:
            return self.value
        kind, message, facts = self.refused
        error = kind.__new__(kind)  # some are not made of their message alone
        Exception.__init__(error, f"{name}: {message}")
        vars(error).update(facts)
        raise error


class Order(NamedTuple):
    """What a process is told.

    Attributes:
        function: of a module.
        options: its arguments.
        threads: that torch may use.
        place: working folder, of which the paths are.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any]
    threads: int
    place: str


def called(order: Order) -> Reply:
    """Do a job in the process that was started for it."""
    import torch

    torch.set_num_threads(order.threads)
    try:
        os.chdir(order.place)
    except OSError:
        told = f"{order.place}: not there on {platform.node()}; jobs need a file system that all machines see"
        return Reply(refused=(JobError, told, {}))
    try:
        return Reply(order.function(**order.options))
    except AberraError as error:
        return Reply(refused=(type(error), str(error), vars(error)))


def share(whole: Sequence[T], which: str, of: str) -> list[T]:
    """One of several parts of a sequence: of ``2/8`` every eighth from the second on.

    Args:
        whole: what is shared out.
        which: the part.
        of: what there are several of, for the message, as in ``cohort.csv: case(s)``.

    Raises:
        MismatchError: this is no part, or one with nothing in it.

    Examples:
        >>> from aberra.jobs import share
        >>> share("abcdefg", "2/3", "letter(s)")
        ['b', 'e']
    """
    number, slash, count = which.partition("/")
    plain = slash and number.isdecimal() and count.isdecimal()
    if not plain or not 1 <= int(number) <= int(count) <= len(whole):
        source, _, things = of.rpartition(": ")
        raise MismatchError(
            f"{source or '--part'}: no part '{which}' of {len(whole)} {things}; expected as in 1/4, of at most {len(whole)} parts"
        )
    return list(islice(whole, int(number) - 1, None, int(count)))


def spread(count: int, at_once: int) -> list[str]:
    """The parts that many like things are shared out in: enough for all workers, and no more than
    :data:`AT_A_TIME` things in one.

    Examples:
        >>> from aberra.jobs import spread
        >>> spread(3, 2), spread(3, 8), len(spread(10_000, 8))
        (['1/2', '2/2'], ['1/3', '2/3', '3/3'], 200)
    """
    parts = min(count, max(at_once, -(-count // AT_A_TIME)))
    return [f"{number + 1}/{parts}" for number in range(parts)]
