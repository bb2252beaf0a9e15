"""``aberra phantom``: cohorts with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", readable=False, help="Folder of the cohort.")],
    cases: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 20,
    lesions: Annotated[float, typer.Option(min=0, max=1, help="Share of cases with lesions.")] = 0.0,
    contrast: Annotated[
        str,
        typer.Option(
            help="flair, t1, t1ce, t2, random, or ct with --anatomy; t1,t2,flair makes three channels of one head."
        ),
    ] = "flair",
    spacing: Annotated[float, typer.Option(help="Voxel size in mm.")] = 2.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    sources: Annotated[
        str, typer.Option(help="Lesion sources: hyper, hypo, texture, patch, mass, ventricle, tumour.")
    ] = "hyper,hypo",
    shapes: Annotated[
        str, typer.Option(help="Lesion shapes: ellipsoid, blob, tube.")
    ] = "ellipsoid,blob,tube",
    masks: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Folder of lesion masks (or a pattern in one); their shapes are drawn, too, with --profiles only theirs.",
        ),
    ] = None,
    artefacts: Annotated[
        str, typer.Option(help="One a case: motion, ghosting, spike, bias, noise, blur.")
    ] = "",
    radius: Annotated[
        tuple[float, float], typer.Option(help="Smallest and largest mean radius of a lesion in mm.")
    ] = (2.0, 15.0),
    count: Annotated[tuple[int, int], typer.Option(help="Fewest and most lesions of a diseased case.")] = (
        1,
        6,
    ),
    shift: Annotated[
        str,
        typer.Option(help="Change of scanner, the same in all cases: contrast, gain, spacing, scanner."),
    ] = "",
    severity: Annotated[float, typer.Option(min=0, max=1, help="Of the shift.")] = 0.5,
    anatomy: Annotated[
        Path | None,
        typer.Option(
            help="Folder of label maps (SynthSeg, FreeSurfer, MUSE or ours): images of these heads."
        ),
    ] = None,
    profiles: Annotated[
        str,
        typer.Option(
            help="Lesions by disease, one a case: ms, wmh, tumour, stroke, haemorrhage, atrophy, fcd, generic. With --from: scans with a tissue map (column labels)."
        ),
    ] = "",
    whole: Annotated[bool, typer.Option("--whole", help="With --anatomy: skull and skin, too.")] = False,
    site: Annotated[
        str, typer.Option(help="What column site says; with --shift, a scanner of its own.")
    ] = "phantom",
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from", readable=False, help="Plant lesions into the healthy scans of this manifest instead."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="With --from: only this split.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Write NIfTI phantoms with truth and a manifest, or plant lesions into your own healthy scans."""
    from aberra.console import screen
    from aberra.synthesis import lesion_cohort, write_cohort

    drawn: dict[str, Any] = {
        "lesions": lesions, "seed": seed, "sources": _list(sources), "shapes": _list(shapes), "masks": masks, "artefacts": _list(artefacts),
        "radius_mm": radius, "count": count, "shift": shift, "severity": severity, "profiles": _list(profiles), "workers": workers,
    }  # fmt: skip
    if origin is None:
        heads: dict[str, Any] = {"anatomy": anatomy, "whole": whole, "site": site}
        manifest = write_cohort(folder, cases=cases, contrast=contrast, spacing=spacing, **heads, **drawn)
    else:
        from aberra.cohort import Cohort

        cohort = Cohort.read(origin)
        manifest = lesion_cohort(cohort.select(split=split), folder, **drawn)
    screen().print(f"manifest: {manifest}")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
