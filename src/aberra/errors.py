"""Every error aberra raises on purpose.

The message names the file, what was expected, and what to do.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

LONG = 100
"""Characters of a name that a message shows."""


class AberraError(Exception):
    """Base of all errors a user can act on; the command line prints it without a traceback."""


class InputError(AberraError):
    """A scan file cannot be used: unreadable, wrong dimensions, broken geometry, not finite."""


class ManifestError(AberraError):
    """A manifest has problems; all are listed at once with their row numbers.

    Args:
        source: the manifest's path.
        problems: one line each, starting with ``row N:`` where a row is meant.
    """

    def __init__(self, source: object, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        listed = "\n".join(f"  {line}" for line in self.problems)
        super().__init__(f"{source}: {len(self.problems)} problem(s) in the manifest\n{listed}")


class ConfigError(AberraError):
    """A name, key or value in a method, recipe or option is not known or cannot work."""


class PairingError(ConfigError):
    """A score asks the model a question that the model cannot answer."""


class ModelError(AberraError):
    """A saved detector is missing, damaged, unfinished or of another version."""


class NotFittedError(ModelError):
    """A model is asked before it has learnt.

    Args:
        model: what it is called.
    """

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model}: not fitted, so there is nothing to compare a scan with; `aberra fit` it first"
        )


class MismatchError(AberraError):
    """A scan does not fit the model: channels, dimensions or contrast."""


class CalibrationError(AberraError):
    """A calibration is missing or cannot be made from the cases given."""


class OutputError(AberraError):
    """Output would overwrite something, or cannot be written."""


class NetworkError(AberraError):
    """An archive does not answer, or does not take or give what it is asked."""


class TrainingError(AberraError):
    """Training cannot start or go on (no usable samples, loss not finite)."""


class JobError(AberraError):
    """The process of a job that runs elsewhere could not go on."""


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Build the error for an unknown name, with the nearest valid one and the whole list.

    Args:
        kind: what the name stands for, as in ``"model"``.
        name: what was given.
        known: all valid names.
    """
    names, given = sorted(known), str(name)
    given = given if len(given) <= LONG else f"{given[:LONG]}..."
    near = get_close_matches(given, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return ConfigError(f"unknown {kind} '{given}'.{hint} Known: {', '.join(names)}")


def expect_known(kind: str, names: Iterable[object], known: Collection[str]) -> None:
    """Refuse names that are not among the known ones.

    Raises:
        ConfigError: for the first of them, see :func:`unknown`.
    """
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def shortlist(names: Iterable[object], most: int = 5) -> str:
    """The first names of a list that may be long, comma-separated; an ellipsis for the others."""
    several = [str(name) for name in names]
    return ", ".join(several[:most]) + (" ..." if len(several) > most else "")
