"""``aberra mood``: a challenge like MOOD, one thin file a command."""

from __future__ import annotations

import typer

from aberra.cli.mood.make import make

app = typer.Typer(
    name="mood",
    help="A challenge like MOOD: sets with anomalies of many kinds.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
for command in (make,):
    app.command()(command)


@app.callback()
def _group() -> None:
    """A challenge like MOOD: sets with anomalies of many kinds."""
