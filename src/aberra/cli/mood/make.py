"""``aberra mood make``: sets with anomalies that nobody chose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def make(
    cohort: Annotated[
        Path, typer.Argument(metavar="COHORT", readable=False, help="Manifest of healthy scans.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the set.")],
    family: Annotated[
        Literal["toy", "train", "validation", "test"],
        typer.Option(
            help="Whose anomalies; they are in no other family. Scans are those of split train, val (toy, validation) or test."
        ),
    ] = "test",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    anomalous: Annotated[float, typer.Option(min=0, max=1, help="Share of cases with an anomaly.")] = 0.5,
    channel: Annotated[str | None, typer.Option(help="Manifest column to read.")] = None,
    cases: Annotated[int | None, typer.Option(min=1, help="Most scans that are used.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this category or subclass. Repeatable.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(readable=False, help="Folder of pictures; the category images is left out without."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(readable=False, help="Folder of lesion masks, for pathologies in their shapes."),
    ] = None,
    sweep: Annotated[
        Literal["radius", "contrast"] | None,
        typer.Option(
            help="Instead: in each scan a toy sphere at the middle, of radius 0 to 80 mm or of intensity 0 to 1."
        ),
    ] = None,
    contaminate: Annotated[
        str,
        typer.Option(
            help="Instead: training scans of which these shares, as in 0.05,0.1, have anomalies and are labelled healthy."
        ),
    ] = "",
    layout: Annotated[
        Literal["cohort", "challenge"],
        typer.Option(help="challenge: besides the cohort, folders toy and toy_label as MOOD has them."),
    ] = "cohort",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Put anomalies of many kinds into healthy scans: a test that nobody could develop against."""
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.errors import ConfigError
    from aberra.mood import contaminated_set, make_set, sweep_set

    scans = Cohort.read(cohort)
    common: dict[str, Any] = {
        "family": family, "seed": seed, "channel": channel, "cases": cases, "workers": workers,
    }  # fmt: skip
    kinds: dict[str, Any] = {"only": only or (), "images": images, "masks": masks}
    if sweep is not None and (contaminate or only or images or masks):
        raise ConfigError(
            "mood make: --sweep is of one sphere; leave out --contaminate, --only, --images, --masks"
        )
    if contaminate and layout == "challenge":
        raise ConfigError("mood make: --contaminate makes training scans, which the challenge does not label")
    if sweep is not None:
        found = sweep_set(scans, out, sweep=sweep, challenge=layout == "challenge", **common)
    elif contaminate:
        found = contaminated_set(scans, out, shares=_shares(contaminate), **kinds, **common)
    else:
        found = make_set(scans, out, anomalous=anomalous, challenge=layout == "challenge", **kinds, **common)
    warn(found.notes)
    for share, path in found.manifests.items():
        screen().print(f"{share:.0%} contaminated: {path}")
    screen().print(f"{found.cases} cases, manifest: {found.manifest}")


def _shares(text: str) -> list[float]:
    from aberra.errors import ConfigError

    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"--contaminate {text}: expected shares, as in 0.05,0.1,0.2") from error
