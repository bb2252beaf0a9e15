"""What several commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

Channel = Annotated[
    list[str] | None,
    typer.Option("--channel", help="Manifest column to read, in the model's order. Repeatable."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Split = Annotated[str | None, typer.Option(help="Only this split of the manifest.")]


def end(failed: Mapping[str, str], last: str) -> None:
    """Print what failed and a last line; the exit code is 1 where something did."""
    from aberra.console import screen, styled

    console = screen()
    for name, reason in failed.items():
        console.print(styled(("failed", "red"), f" {name}: {reason}"))
    console.print(last)
    if failed:
        raise typer.Exit(1)
