"""``aberra findings``: what readers say of a cohort's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def findings(
    results: Annotated[
        Path,
        typer.Argument(metavar="DIR", readable=False, help="Folder of results with objects and grades."),
    ],
    grades: Annotated[
        Path | None,
        typer.Option(
            metavar="WORKLIST",
            readable=False,
            help="The worklist that was read; without, DIR has the grades.",
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(readable=False, help="Manifest of the cases: patient, label, site, sex, age, split."),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Results of the same detector on what it has learnt from, with objects and grades.",
        ),
    ] = None,
    training_grades: Annotated[
        Path | None,
        typer.Option(
            "--training-grades",
            metavar="WORKLIST",
            readable=False,
            help="The worklist that was read of these.",
        ),
    ] = None,
    sensitivity: Annotated[
        float, typer.Option(help="Share of scans with a finding that reading less has to keep.")
    ] = 0.95,
    final: Annotated[
        str, typer.Option(metavar="READER", help="The reader whose grade decides where others differ.")
    ] = "consensus",
    level: Annotated[
        float, typer.Option(help="P-value up to which a scan that nobody has graded is to be reviewed.")
    ] = 0.05,
    bootstrap: Annotated[int, typer.Option(min=10, help="Bootstrap replicates over patients.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Report what the objects of a cohort are: findings by visibility, causes of false positives,
    agreement of readers, reading saved, what to review.
    """
    from rich.table import Table

    from aberra.audit.page import shown
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.workflows.findings import findings as run

    found = run(
        results, grades=grades, cohort=Cohort.read(cohort) if cohort else None, training=training, training_grades=training_grades, sensitivity=sensitivity, final=final,
        level=level, n_boot=bootstrap, seed=seed,
    )  # fmt: skip
    content, console = found.content, screen()
    table = Table("grade", "objects", "missed", "meaning")
    for row in content["by_grade"]:
        table.add_row(row["grade"], str(row["objects"]), str(row["missed"]), row["meaning"])
    console.print(table)
    console.print(
        f"{content['graded']} of {content['objects']} object(s) graded, {content['disputed']} disputed; "
        f"sensitivity {shown(content['rates']['sensitivity'])}, precision {shown(content['rates']['precision'])}, "
        f"reading saved {shown(content['reading']['saved'])}"
    )
    warn(content["notes"])
    console.print(f"findings: {found.folder / 'findings.html'}")
