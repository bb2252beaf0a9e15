"""What several commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aberra.cohort import Cohort
    from aberra.detector import Detector

Channel = Annotated[
    list[str] | None,
    typer.Option("--channel", help="Manifest column to read, in the model's order. Repeatable."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Split = Annotated[str | None, typer.Option(help="Only this split of the manifest.")]


def detector_for(
    model: str, cohort: Cohort, channels: Sequence[str] | None, **use: Any
) -> tuple[Detector, Cohort, list[str] | None]:
    """Load the detector that is named, or, of ``auto``, the shipped one for the cohort's sequence,
    which is said.

    Args:
        model: as the command line has it.
        cohort: its warnings are printed.
        channels: the columns to read.
        use: device and size of batches.

    Returns:
        The detector, the cases, of a BIDS dataset only those that have what is read, and the
        columns to read.
    """
    from pathlib import Path

    from aberra.cohort.bids import dataset_of
    from aberra.console import screen, warn
    from aberra.detector import Detector
    from aberra.sequence import AUTO, choose, preferred

    warn(cohort.warnings)
    dataset = dataset_of(Path(str(cohort.source)))
    names = list(channels) if channels else None
    if model == AUTO:
        if dataset is not None:
            names = names or preferred(cohort)
        choice = choose(cohort.having(names or []) if dataset is not None else cohort, names)
        model, names = choice.detector, choice.channels
        screen().print(f"detector {choice.why}")
    detector = Detector.load(model, **use)
    if dataset is None:
        return detector, cohort, names
    chosen = cohort.having(names or detector.channels)
    warn(chosen.warnings[len(cohort.warnings) :])
    return detector, chosen, names


def end(failed: Mapping[str, str], last: str) -> None:
    """Print what failed and a last line; the exit code is 1 where something did."""
    from aberra.console import screen, styled

    console = screen()
    for name, reason in failed.items():
        console.print(styled(("failed", "red"), f" {name}: {reason}"))
    console.print(last)
    if failed:
        raise typer.Exit(1)
