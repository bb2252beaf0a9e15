"""``aberra brats``: a folder of BraTS patients to a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def brats(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="BRATS_DIR", readable=False, help="One folder a patient: *_t1.nii.gz ... *_seg.nii.gz."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the cohort.")],
    size: Annotated[int, typer.Option(help="In-plane edge in voxels: 224 crops, 256 pads.")] = 224,
    low: Annotated[int, typer.Option(min=0, help="Axial slices to drop at the bottom.")] = 80,
    high: Annotated[int, typer.Option(min=0, help="Axial slices to drop at the top.")] = 26,
    channels: Annotated[
        str, typer.Option(help="Sequences, as file names end; t1n,t1c,t2w,t2f in BraTS 2023.")
    ] = "t1,t1ce,t2,flair",
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of patients in split `test`.")] = 0.1,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of patients in split `val`.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Cut BraTS patients to their central axial slices in [0, 1], with tumour masks and a manifest
    split by patient.
    """
    from aberra.console import screen
    from aberra.synthesis import brats_cohort

    names = [name.strip() for name in channels.split(",") if name.strip()]
    manifest = brats_cohort(
        source, out, channels=names, size=size, low=low, high=high,
        test=test, val=val, seed=seed, workers=workers,
    )  # fmt: skip
    screen().print(f"manifest: {manifest}")
