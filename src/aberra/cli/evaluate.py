"""``aberra evaluate``: maps and truth into numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    results: Annotated[
        Path, typer.Argument(metavar="DIR", readable=False, help="Folder that `aberra detect` wrote.")
    ],
    manifest: Annotated[
        Path, typer.Argument(readable=False, help="CSV with the truth: `lesion` masks and `label`.")
    ],
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            readable=False, help="Another evaluated folder of the same cases: paired test. Repeatable."
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Leave out cases without a result, or that cannot be read."),
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=10, help="Bootstrap replicates over patients.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and tests.")] = 0,
) -> None:
    """Compute voxel, lesion and case metrics with intervals; write metrics.json, tables and
    figures.
    """
    from aberra.workflows.evaluate import evaluate as run

    found = run(
        results, manifest, split=split, against=against or (), allow_missing=allow_missing, n_boot=bootstrap,
        seed=seed,
    )  # fmt: skip
    if found["failed"]:
        raise typer.Exit(1)
