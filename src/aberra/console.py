"""What is said to people: names and paths are printed as they are, never read as markup or emoji."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text


def screen(*, stderr: bool = False, quiet: bool = False, wrap: bool = False) -> Console:
    """A console that takes text literally; ``wrap`` folds lines (and cells of tables) to its width."""
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, soft_wrap=not wrap, markup=False, emoji=False, highlight=False)


def styled(*parts: str | tuple[str, str]) -> Text:
    """One line of literal parts, ``(text, style)`` or plain."""
    from rich.text import Text

    return Text.assemble(*parts)


def bars(*, show: bool, stderr: bool = False, transient: bool = False) -> Progress:
    """Progress bars whose descriptions are literal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=screen(stderr=stderr, wrap=True),
        transient=transient,
        disable=not show,
    )


def warn(notes: Iterable[str]) -> None:
    """Print what the reader of the results should know, one line each, to standard error."""
    for note in notes:
        screen(stderr=True).print(styled(("Warning: ", "bold yellow"), note))
