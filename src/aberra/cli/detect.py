"""``aberra detect``: maps, masks, p-values and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def detect(
    model: Annotated[
        str, typer.Argument(help="A detector's folder or the name of a shipped one (flair, any-contrast).")
    ],
    paths: Annotated[
        list[Path], typer.Argument(help="Scan files, DICOM folders, folders of scans, or a manifest.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel", help="Which manifest column a channel of the model reads. Repeatable, in order."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of the manifest.")] = None,
    threshold: Annotated[
        str | None, typer.Option(help="Threshold protocol of the mask; the calibration's default without.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices or patches at once; chosen by memory without.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Redo cases that another input left in DIR, or all of another model (give them all).",
        ),
    ] = False,
) -> None:
    """Score scans: per case a map, mask, reconstruction and result.json; scores.csv and report.html for all."""
    from aberra.cohort import Cohort
    from aberra.console import screen, styled, warn
    from aberra.detection import detect_cohort
    from aberra.detector import Detector

    detector = Detector.load(model, device=device, batch_size=batch_size)
    cohort = Cohort.from_paths(paths)
    warn(cohort.warnings)
    summary = detect_cohort(
        detector,
        cohort.select(split=split) if split else cohort,
        out=out,
        channels=channel,
        protocol=threshold,
        overwrite=overwrite,
        progress=True,
    )
    console = screen()
    console.print(
        f"{summary.done} case(s) scored, {summary.kept} kept from before, {len(summary.failed)} failed"
    )
    for case, reason in summary.failed.items():
        console.print(styled(("failed", "red"), f" {case}: {reason}"))
    console.print(f"scores: {out / 'scores.csv'}\nreport: {out / 'report.html'}")
    if summary.failed:
        raise typer.Exit(1)
