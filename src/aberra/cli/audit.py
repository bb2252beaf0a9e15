"""``aberra audit``: lesion or scanner?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aberra.cli.shared import Channel, Device, end


def audit(
    model: Annotated[str, typer.Argument(help="A detector's folder or the name of a shipped one.")],
    reference: Annotated[
        Path,
        typer.Option(
            "--reference",
            readable=False,
            help="Manifest of healthy scans of the scanner that the model is used on.",
        ),
    ],
    test: Annotated[
        list[Path],
        typer.Option(
            "--test",
            readable=False,
            help="Manifest of a cohort to hold against it; its name is that of the file, or of its folder. Repeatable.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the audit.")],
    channel: Channel = None,
    reference_split: Annotated[str | None, typer.Option(help="Only this split of the reference.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of the tested cohorts.")] = None,
    level: Annotated[
        float, typer.Option(help="Share of scans of the reference's scanner that may be distrusted.")
    ] = 0.05,
    neighbours: Annotated[
        int, typer.Option(help="Healthy scans of the most similar scanner that a score is held against.")
    ] = 10,
    adapt: Annotated[
        int,
        typer.Option(
            help="Hold each cohort against this many of its own healthy cases, too (its first, which are then not counted)."
        ),
    ] = 0,
    match: Annotated[
        bool,
        typer.Option("--match", help="Also audit each cohort after histogram matching to the reference."),
    ] = False,
    map_: Annotated[
        Literal["pca", "umap"],
        typer.Option(
            "--map",
            help="Map of the cases: principal components of the reference, or UMAP (pip install umap-learn).",
        ),
    ] = "pca",
    device: Device = "auto",
) -> None:
    """Say of a detector's score whether it sees lesions or scanners, and of each scan whether its
    scanner is one that the reference knows.
    """
    from rich.table import Table

    from aberra.audit.page import COLUMNS, shown
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.detector import Detector
    from aberra.errors import ConfigError
    from aberra.workflows.audit import audit as run

    detector = Detector.load(model, device=device)
    tests: dict[str, Cohort] = {}
    for path in test:
        name = path.parent.name if path.stem == "manifest" else path.stem
        if name in tests:
            raise ConfigError(f"--test {path}: there is a cohort '{name}' already; rename the file")
        tests[name] = Cohort.read(path).select(split=split)
    failed: dict[str, str] = {}
    found = run(
        detector, Cohort.read(reference).select(split=reference_split), tests, out=out, channels=channel, level=level,
        neighbours=neighbours, adapt=adapt, match=match, layout=map_, progress=True, failed=failed,
    )  # fmt: skip
    table = Table(*(name.replace("_", " ") for name in COLUMNS))
    for row in found.summary:
        table.add_row(*(shown(row[name]) for name in COLUMNS))
    screen().print(table)
    warn(found.notes)
    end(failed, f"audit: {out / 'audit.html'}")
