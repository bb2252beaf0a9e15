"""``aberra export-scores``: case scores as other tools write them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aberra.cli.shared import Split


def export_scores(
    results: Annotated[
        Path, typer.Argument(metavar="DIR", readable=False, help="Folder that `aberra detect` wrote.")
    ],
    to: Annotated[Literal["anomalib", "imgad"], typer.Option(help="Whose columns.")],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The CSV file; a new one.")],
    manifest: Annotated[
        Path | None, typer.Option(readable=False, help="CSV with the truth: `label`, or `lesion` masks.")
    ] = None,
    split: Split = None,
    level: Annotated[float, typer.Option(help="Share of healthy cases that may be called anomalous.")] = 0.05,
) -> None:
    """Write the scores of cases as a table that other tools for anomaly detection have."""
    from aberra.console import screen, warn
    from aberra.workflows.export_scores import export_scores as run

    warn(run(results, to, out=out, manifest=manifest, split=split, level=level))
    screen().print(f"scores: {out}")
