"""``aberra mood run``: a submission, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aberra.cli.shared import Split, end


def run(
    submission: Annotated[
        Path, typer.Argument(readable=False, help="Folder with workspace/ and Dockerfile.")
    ],
    cases: Annotated[
        Path, typer.Argument(readable=False, help="Folder of <case>.nii.gz (toy), or a manifest.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Folder of predictions, times and scores.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(readable=False, help="Folder with pixel/ and sample/, or a manifest, to score with."),
    ] = None,
    task: Annotated[Literal["both", "sample", "pixel"], typer.Option(help="Whose entry scripts.")] = "both",
    dataset: Annotated[Literal["brain", "abdom"], typer.Option(help="Whose entry scripts.")] = "brain",
    limit: Annotated[float, typer.Option(help="Seconds a case, starting included.")] = 600,
    runtime: Annotated[
        Literal["auto", "docker", "podman", "process"],
        typer.Option(help="auto: the first container engine that answers, else a process."),
    ] = "auto",
    channel: Annotated[str | None, typer.Option(help="Manifest column of the scans.")] = None,
    split: Split = None,
) -> None:
    """Run a submission on each case as the MOOD challenge does, with a time limit and without
    network, and score it.
    """
    from rich.table import Table

    from aberra.console import screen
    from aberra.mood.harness import DONE
    from aberra.mood.harness import run as harness
    from aberra.mood.package import TASKS
    from aberra.mood.tables import HEAD, headlines

    found = harness(
        submission, cases, out=out, labels=labels, tasks=TASKS if task == "both" else (task,), dataset=dataset,
        limit=limit, runtime=runtime, channel=channel, split=split, progress=True,
    )  # fmt: skip
    console = screen(wrap=True)
    console.print(f"runtime: {found.runtime}, network {found.network}; {found.kept} kept from before")
    for name, scores in found.scores.items():
        table = Table(*HEAD, title=f"{scores.team} on {scores.dataset}, {name}")
        for cells in headlines(scores):
            table.add_row(*cells)
        console.print(table)
    seconds = [row["seconds"] for row in found.rows if row["status"] == DONE]
    if seconds:
        console.print(
            f"{len(seconds)} done, {sum(seconds) / len(seconds):.1f} s a case on average, {max(seconds):.1f} s at most"
        )
    failed = {f"{row['case']} ({row['task']})": row["reason"] for row in found.rows if row["status"] != DONE}
    end(failed, f"run: {out / 'cases.csv'}")
