"""``aberra report``: the HTML page again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `aberra detect` wrote.")],
    manifest: Annotated[Path | None, typer.Option(help="The cohort's manifest: adds truth contours.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
) -> None:
    """Rebuild the HTML report of a folder of results."""
    from aberra.console import screen
    from aberra.report import write_report

    screen().print(f"report: {write_report(results, title=title, manifest=manifest)}")
