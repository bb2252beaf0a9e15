"""``aberra edit``: guided changes of a scan, and synthetic lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Channel, Device, Split, end


def edit(
    model: Annotated[
        Path,
        typer.Argument(
            readable=False, help="Folder of a detector that was fitted with guides (ddim-guided)."
        ),
    ],
    paths: Annotated[
        list[Path], typer.Argument(readable=False, help="Scan files, folders of scans, or a manifest.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the edits.")],
    towards: Annotated[str | None, typer.Option("--class", help="healthy or diseased.")] = None,
    area: Annotated[
        str | None,
        typer.Option(help="Lesion area of a slice as a share of its foreground, or up or down."),
    ] = None,
    age: Annotated[str | None, typer.Option(help="Age of the person in years, or up or down.")] = None,
    mask: Annotated[
        Path | None, typer.Option(readable=False, help="Lesion mask on the scan's grid (one scan).")
    ] = None,
    draw: Annotated[
        int | None, typer.Option(help="Draw a lesion mask for each scan instead, from this seed.")
    ] = None,
    radius: Annotated[
        tuple[float, float], typer.Option(help="With --draw: smallest and largest mean radius in mm.")
    ] = (6.0, 15.0),
    weight: Annotated[
        list[str] | None, typer.Option("--weight", help="Weight of an aim, as in mask=3. Repeatable.")
    ] = None,
    start: Annotated[int, typer.Option(min=1, help="Step L to encode to.")] = 400,
    steps: Annotated[int, typer.Option(min=1, help="Steps each way.")] = 25,
    sampler: Annotated[str, typer.Option(help="ddim or coupled (exact inverse, twice the calls).")] = "ddim",
    split: Split = None,
    channel: Channel = None,
    device: Device = "auto",
) -> None:
    """Change scans towards a class, an age, a lesion area or a lesion mask; several aims work at
    once.

    DIR/CASE/ gets edited.nii.gz, difference.nii.gz, lesion.nii.gz and edit.json, what independent
    networks say of the result. With a mask, DIR/manifest.csv lists the edited scans with their
    lesions: data to train or test with.
    """
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.detector import Detector
    from aberra.workflows.edit_cohort import edit_cohort

    detector = Detector.load(model, device=device)
    cohort = Cohort.from_paths(paths)
    warn(cohort.warnings)
    failed: dict[str, str] = {}
    done = edit_cohort(
        detector, cohort.select(split=split), out=out, towards=towards, area=area, age=age, mask=mask, draw=draw,
        radius_mm=radius, weights=weight or [], start=start, steps=steps, sampler=sampler, channels=channel,
        progress=True, failed=failed,
    )  # fmt: skip
    console = screen()
    for case, attained in done.items():
        told = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in attained.items())
        console.print(f"{case}: {told}")
    end(failed, f"edits: {out}")
