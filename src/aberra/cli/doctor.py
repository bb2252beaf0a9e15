"""``aberra doctor``: what files and cohorts are, and whether they fit a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Channel


def doctor(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", readable=False, help="Scan files, DICOM folders, folders of scans, manifests."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="A detector's folder or a shipped one's name, to compare with.")
    ] = None,
    channel: Channel = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine scans and manifests: format, geometry, intensities, overlaps; with --model, whether
    they fit.
    """
    from rich.table import Table
    from rich.text import Text

    from aberra.cohort.doctor import examine
    from aberra.cohort.fingerprint import Fingerprint
    from aberra.console import bars, screen
    from aberra.errors import ModelError
    from aberra.files import read_json

    known = view = None
    if model is not None:
        from aberra.detector.folder import load_recipe, resolve_model

        folder = resolve_model(model)
        view = load_recipe(folder).view
        file = folder / "fingerprint.json"
        try:
            known = Fingerprint.from_json(read_json(file))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{file}: cannot be read ({error}), so nothing can be compared; fit the detector again"
            ) from error
    with bars(show=True, stderr=True, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        report = examine(
            paths,
            known,
            channels=channel,
            view=view,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json:
        from json import dumps

        typer.echo(dumps(report.to_json(), indent=2))
        raise typer.Exit(code=int(report.failed))

    styles = {"ok": "green", "info": "cyan", "warn": "yellow", "error": "bold red"}
    table = Table("", "topic", "finding", "what to do", show_lines=False, expand=False)
    for each in report.findings:
        table.add_row(Text(each.level, styles[each.level]), each.topic, Text(each.what), Text(each.remedy))
    screen(wrap=True).print(table)
    raise typer.Exit(code=int(report.failed))
