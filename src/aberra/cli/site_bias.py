"""``aberra site-bias``: does the scanner tell the class?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Channel, Device, Split, end


def site_bias(
    manifest: Annotated[
        Path, typer.Argument(readable=False, help="Manifest with a column 'site' and, where known, 'label'.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the page and tables.")],
    model: Annotated[
        str | None,
        typer.Option(help="A detector whose preparation and codes are looked at: its folder or name."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Without --model: the method whose preparation is looked at.")
    ] = "classifier",
    by: Annotated[str, typer.Option(help="Column that names the site.")] = "site",
    channel: Channel = None,
    split: Split = None,
    permutations: Annotated[
        int, typer.Option(min=0, help="Permutations behind the p-values; 0 is none.")
    ] = 50,
    device: Device = "auto",
) -> None:
    """Say how far the classes of a cohort go with its scanners, and whether the scanner can be told
    from a scan, before and after preparation.
    """
    from rich.table import Table

    from aberra.audit.page import shown
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.detector import Detector
    from aberra.workflows.site_bias import site_bias as run

    detector = None if model is None else Detector.load(model, device=device)
    failed: dict[str, str] = {}
    found = run(
        Cohort.read(manifest).select(split=split), out=out, detector=detector, method=method, by=by,
        channels=channel, permutations=permutations, progress=True, failed=failed,
    )  # fmt: skip
    table = Table(f"{by} told from", "numbers", "balanced accuracy", "chance", "p")
    for row in found.probes:
        table.add_row(*(shown(value) for value in row.values()))
    screen().print(table)
    screen().print(
        f"Cramér's V of class and {by}: {shown(found.association)}; class told by the {by} alone: {found.by_site:.0%}"
    )
    warn(found.notes)
    end(failed, f"site bias: {out / 'site-bias.html'}")
