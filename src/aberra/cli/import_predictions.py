"""``aberra import-predictions``: masks of other tools (nnU-Net) as results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Split


def import_predictions(
    folder: Annotated[
        Path, typer.Argument(readable=False, help="Folder of NIfTI files named as the manifest's cases.")
    ],
    manifest: Annotated[Path, typer.Argument(readable=False, help="CSV with the scans.")],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the results.")],
    split: Split = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The files are lesion probabilities, not masks.")
    ] = False,
    label: Annotated[
        list[int] | None,
        typer.Option("--label", help="Value of the masks that is lesion; all but 0 without. Repeatable."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out cases without a prediction.")
    ] = False,
) -> None:
    """Turn another tool's predicted masks or probabilities into results that `aberra evaluate` and
    `aberra report` read.
    """
    from aberra.console import screen
    from aberra.workflows.predictions import import_predictions as run

    done = run(
        folder, manifest, out=out, split=split, probabilities=probabilities, labels=label or None,
        allow_missing=allow_missing,
    )  # fmt: skip
    screen().print(f"{len(done)} prediction(s) imported: {out}\nnext: aberra evaluate {out} {manifest}")
