"""``aberra mood score``: a submission's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aberra.cli.shared import Split


def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            readable=False,
            help="Folder of <case>.nii.gz maps or <case>.nii.gz.txt numbers, or of `aberra detect`.",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Argument(readable=False, help="Folder with pixel/ and sample/ (toy_label), or a manifest."),
    ],
    task: Annotated[Literal["sample", "pixel"], typer.Option(help="One number a scan, or one a voxel.")],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of tables and figures.")],
    team: Annotated[
        str, typer.Option(help="Whose the predictions are; the name of their folder without.")
    ] = "",
    dataset: Annotated[str, typer.Option(help="Name of the labels; that of their folder without.")] = "",
    split: Split = None,
    prevalence: Annotated[
        float, typer.Option(help="Share of anomalous scans where reading is to be saved.")
    ] = 0.5,
    bootstrap: Annotated[int, typer.Option(min=10, help="Bootstrap replicates over patients.")] = 500,
    batch: Annotated[int, typer.Option(min=1, help="Scans pooled for one pixel AP.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of batches and bootstrap.")] = 0,
) -> None:
    """Score predictions as the MOOD challenge does, and say beside it what its numbers leave out."""
    from rich.table import Table

    from aberra.console import screen, warn
    from aberra.mood.scorer import score as run
    from aberra.mood.tables import GROUP_HEAD, HEAD, group_cells, headlines

    found = run(
        predictions, labels, task=task, out=out, team=team, dataset=dataset, split=split, prevalence=prevalence,
        n_boot=bootstrap, batch=batch, seed=seed, progress=True,
    )  # fmt: skip
    console = screen(wrap=True)
    table = Table(*HEAD, title=f"{found.team} on {found.dataset}, {len(found.cases)} cases")
    for cells in headlines(found):
        table.add_row(*cells)
    console.print(table)
    if found.groups:
        table = Table(*GROUP_HEAD)
        for row in found.groups:
            table.add_row(*group_cells(row))
        console.print(table)
    for note in found.notes:
        screen().print(f"note: {note}")
    warn(f"{case} counts as zeros: {reason}" for case, reason in found.zeros.items())
    screen().print(f"scores: {out / 'table.md'}")
