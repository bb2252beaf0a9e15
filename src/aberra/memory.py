"""What this machine can hold: asked before something takes it."""

from __future__ import annotations

import os
from math import inf

from aberra.errors import ConfigError


def physical() -> float:
    """Bytes of memory; unlimited where the system does not tell."""
    if not hasattr(os, "sysconf"):  # pragma: no cover
        return inf
    return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))


def refuse_too_much(needed: float, what: str, remedy: str) -> None:
    """Refuse what cannot be held.

    Args:
        needed: bytes.
        what: takes them, for the message.
        remedy: what to do.

    Raises:
        ConfigError: the machine has less memory.
    """
    there = physical()
    if needed > there:
        raise ConfigError(
            f"{what} would take {needed / 2**30:,.0f} GiB, this machine has {there / 2**30:,.0f} GiB; {remedy}"
        )
