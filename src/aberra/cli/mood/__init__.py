"""``aberra mood``: a challenge like MOOD, one thin file a command."""

from __future__ import annotations

import typer

from aberra.cli.mood.make import make
from aberra.cli.mood.package import package
from aberra.cli.mood.rank import rank
from aberra.cli.mood.run import run
from aberra.cli.mood.score import score

app = typer.Typer(
    name="mood",
    help="A challenge like MOOD: test sets, scores, ranking and submissions.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
for command in (make, score, rank, package, run):
    app.command()(command)
