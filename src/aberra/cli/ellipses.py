"""``aberra ellipses``: images with a signed truth for every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ellipses(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the cohort.")],
    cases: Annotated[int, typer.Option(min=1, help="How many images.")] = 400,
    diseased: Annotated[
        float, typer.Option(min=0, max=1, help="Share whose smaller ellipse has shrunk.")
    ] = 0.5,
    size: Annotated[int, typer.Option(help="Edge in pixels, 64 or more.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Write 2-D images of ellipses on waves, healthy and diseased, with truth and a manifest."""
    from aberra.console import screen
    from aberra.synthesis import write_ellipses

    manifest = write_ellipses(folder, cases=cases, diseased=diseased, size=size, seed=seed, workers=workers)
    screen().print(f"manifest: {manifest}")
