"""``aberra calibrate``: thresholds and p-values from healthy cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Channel, Device, Split, end


def calibrate(
    model: Annotated[str, typer.Argument(help="A detector's folder or the name of a shipped one.")],
    manifest: Annotated[
        Path,
        typer.Argument(readable=False, help="CSV with healthy cases that the model has not learnt from."),
    ],
    split: Split = None,
    channel: Channel = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column for p-values within groups, as in `site` or `sex`; `age` in 10-year bands."
        ),
    ] = None,
    lesions: Annotated[
        bool,
        typer.Option(
            "--lesions",
            help="Also find the `validation-lesion` threshold (best Dice) on the manifest's diseased cases.",
        ),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="Ask the same trained model another question: a method with the same model, as `vae-combi` for a `vae`. Needs --out.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="With --method: change one of its settings, as in score.draws=20."),
    ] = None,
    adapt: Annotated[
        int,
        typer.Option(
            help="Move the calibration that MODEL has to this site by its first ADAPT healthy scans (3 or more), where there are too few for one of its own."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            readable=False,
            help="Write the calibrated detector here; needed for shipped ones and --method.",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Set thresholds and p-values from held-out healthy cases; the model's weights are not touched."""
    from rich.table import Table

    from aberra.cohort import Cohort
    from aberra.console import screen
    from aberra.detector import Detector
    from aberra.method import Method, parse_settings

    detector = Detector.load(model, device=device)
    question = Method.load(method, parse_settings(settings or [])) if method else None
    cohort = Cohort.read(manifest)
    failed: dict[str, str] = {}
    detector = detector.calibrate(
        cohort.select(split=split), channels=channel, group_by=group, lesions=lesions, method=question, adapt=adapt,
        out=out, progress=True, failed=failed,
    )  # fmt: skip
    console, calibration = screen(), detector.calibration
    assert calibration is not None  # noqa: S101 (just made)
    table = Table(
        "protocol", "threshold", title=f"{calibration.n_cases} healthy cases, {calibration.n_voxels:,} voxels"
    )
    for protocol, value in calibration.thresholds.items():
        table.add_row(protocol + (" (default)" if protocol == calibration.default else ""), f"{value:.5g}")
    console.print(table)
    for note in calibration.notes:
        console.print(f"note: {note}")
    end(failed, f"calibration: {(detector.folder or Path(model)) / 'calibration.json'}")
