"""``aberra mood package``: a detector as a submission."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def package(
    model: Annotated[
        str,
        typer.Argument(
            help="A calibrated detector of one channel: its folder, or the name of a shipped one."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the submission.")],
    abdom: Annotated[str | None, typer.Option(help="The detector of the abdomen; MODEL without.")] = None,
) -> None:
    """Write a detector as a container that the MOOD challenge can run: entry scripts, Dockerfile and
    all that these need.
    """
    from aberra.console import screen
    from aberra.mood.package import package as run

    facts = run(model, out=out, abdom=abdom)
    console = screen()
    for name, words in facts["transforms"].items():
        console.print(f"{name}: map: {words['map']}; score: {words['score']}")
    console.print(f"submission: {out}\nnext: aberra mood run {out} CASES --out DIR")
