"""``aberra demo``: the main job on phantoms, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the demo.")] = Path(
        "aberra-demo"
    ),
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train a small detector instead of using the shipped one.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the phantoms.")] = 2026,
) -> None:
    """Find lesions in unseen phantom cases and write a report: the whole pipeline on one screen."""
    from aberra.workflows.demo import run

    run(out, from_scratch=from_scratch, seed=seed)
