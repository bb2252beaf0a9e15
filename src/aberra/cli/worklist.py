"""``aberra worklist``: findings for a reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import end


def worklist(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            readable=False,
            help="Folder of results in which `aberra objects` has found objects.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Folder of the sheet and the page.")
    ],
) -> None:
    """Rank the findings of a cohort for a reader: a sheet, a page, and pictures to scroll through."""
    from aberra.workflows.worklist import worklist as run

    failed: dict[str, str] = {}
    made = run(results, out=out, progress=True, failed=failed)
    before = f" ({made.kept} from before)" if made.kept else ""
    none = f", {made.without} of them without any" if made.without else ""
    end(failed, f"{made.objects} objects in {made.cases} cases{none}{before}: {out / 'index.html'}\ngrade them: aberra read {out} --reader NAME")  # fmt: skip
