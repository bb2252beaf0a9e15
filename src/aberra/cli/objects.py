"""``aberra objects``: maps into objects that a reader can look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import end


def objects(
    results: Annotated[
        Path, typer.Argument(metavar="DIR", readable=False, help="Folder that `aberra detect` wrote.")
    ],
    threshold: Annotated[
        str | None,
        typer.Option(
            help="A protocol of the calibration (healthy-fpr-1), a number, toy or conformal; that of the masks without."
        ),
    ] = None,
    least_volume_mm3: Annotated[
        float, typer.Option("--least-volume-mm3", min=0, help="Smaller regions are no objects.")
    ] = 1200.0,
    truth: Annotated[
        Path | None,
        typer.Option(readable=False, help="Manifest of known lesions: say which object is which lesion."),
    ] = None,
    toy: Annotated[
        Path | None,
        typer.Option(readable=False, help="For toy: results of the same detector on planted lesions."),
    ] = None,
    toy_truth: Annotated[
        Path | None, typer.Option("--toy-truth", readable=False, help="For toy: the manifest of these.")
    ] = None,
    healthy: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="For conformal: results of the same detector on healthy cases it has not learnt from.",
        ),
    ] = None,
    level: Annotated[
        float, typer.Option(help="For conformal: share of healthy cases that may have an object.")
    ] = 0.05,
    regions: Annotated[
        bool, typer.Option("--regions", help="Name side and tissue of each object (registers every scan).")
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=10, help="Bootstrap replicates over patients.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """List the objects of every case, strongest first: volume, place, score; with known lesions,
    which were found.
    """
    from rich.table import Table

    from aberra.audit.page import shown
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.workflows.objects import objects as run

    failed: dict[str, str] = {}
    found = run(
        results, threshold=threshold, least_volume_mm3=least_volume_mm3, toy=toy,
        toy_truth=Cohort.read(toy_truth) if toy_truth else None, healthy=healthy, level=level,
        truth=Cohort.read(truth) if truth else None, regions=regions, n_boot=bootstrap, seed=seed, progress=True,
        failed=failed,
    )  # fmt: skip
    console = screen()
    console.print(
        f"{len(found.rows)} object(s) in {len({row['case'] for row in found.rows})} of {found.cases} case(s) ({found.kept} kept from before), "
        f"threshold {found.threshold.value:.4g} ({found.threshold.protocol})"
    )
    if found.summary:
        table = Table("of known lesions", "hit", "95 %", "touched", "95 %")
        for name in ("recall", "precision", "false_positives_per_scan"):
            cells = [
                shown(value) if not isinstance(value, tuple) else f"{value[0]:.3f} to {value[1]:.3f}"
                for rule in ("hit", "touch")
                for value in (found.summary[rule][name], found.summary[rule].get(f"{name}_interval"))
            ]
            table.add_row(name.replace("_", " "), *cells)
        console.print(table)
    warn(found.notes)
    end(failed, f"objects: {results / 'objects.csv'}")
