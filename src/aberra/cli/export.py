"""``aberra export``: a detector's network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    model: Annotated[str, typer.Argument(help="A detector's folder or name.")],
    to: Annotated[
        Literal["onnx", "torch", "monai"],
        typer.Option(help="Format: ONNX, a program of torch.export, or a MONAI bundle."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Folder of the files; new or empty.")
    ],
) -> None:
    """Write a detector's network as a file that other programs run, and check that it computes the
    same.
    """
    from aberra.console import screen, warn
    from aberra.detector import Detector
    from aberra.exchange import export as run

    done = run(Detector.load(model, device="cpu"), to, out=out)
    if done.why:
        warn([f"this is the network alone, its {done.gives}: {done.why}"])
    sizes = " and ".join(map(str, done.batches))
    screen().print(
        f"{done.gives}: at most {done.difference:.2g} from the network, whose greatest answer is {done.answer:.3g}, "
        f"in batches of {sizes}\nexported: {done.folder}"
    )
