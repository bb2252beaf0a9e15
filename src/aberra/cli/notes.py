"""Warnings of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def warn(notes: Iterable[str]) -> None:
    """Print what the reader of the results should know, one line each, to standard error."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    for note in notes:
        console.print(Text.assemble(("Warning: ", "bold yellow"), note))
