"""``aberra mood rank``: submissions in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rank(
    paths: Annotated[
        list[Path],
        typer.Argument(
            readable=False,
            help="A CSV with team, dataset and value, results.csv of a benchmark, or folders of `aberra mood score` of one task.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", readable=False, help="Folder of tables and figures.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            readable=False,
            help="Another table, or folders of scores: Kendall's τ-b of both orders. Repeatable.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Only this data set, of a benchmark TASK/COHORT. Repeatable.", metavar="NAME"),
    ] = None,
    dataset_against: Annotated[
        list[str] | None, typer.Option(help="The same of --against.", metavar="NAME")
    ] = None,
    metric: Annotated[str, typer.Option(help="Of a benchmark; more is better.")] = "AP",
    bootstrap: Annotated[
        int, typer.Option(min=10, help="Draws behind rank frequencies and interval.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
) -> None:
    """Rank submissions over data sets: by the mean of their ranks, each data set weighing the same."""
    from rich.table import Table

    from aberra.console import screen, warn
    from aberra.mood.rank import rank as run
    from aberra.mood.tables import agreement_lines, ranking_cells, ranking_head

    found = run(
        paths, out=out, against=against or (), datasets=dataset or (), datasets_against=dataset_against or (), metric=metric,
        replicates=bootstrap, seed=seed,
    )  # fmt: skip
    console = screen(wrap=True)
    table = Table(*ranking_head(found))
    for place in found.places:
        table.add_row(*ranking_cells(found, place))
    console.print(table)
    if found.opposed:
        opposed = Table("team", "rank", "rank against", "falls by")
        for row in found.opposed:
            opposed.add_row(*map(str, row.values()))
        console.print(opposed)
    for line in agreement_lines(found):
        console.print(line)
    warn(found.notes)
    if out is not None:
        screen().print(f"ranking: {out / 'ranking.md'}")
