"""``aberra bids``: the call form of BIDS Apps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aberra.cli.shared import Channel, Device, detector_for, end


def bids(
    dataset: Annotated[Path, typer.Argument(readable=False, help="A raw BIDS dataset.")],
    out: Annotated[Path, typer.Argument(readable=False, help="Folder of the derivative.")],
    level: Annotated[
        Literal["participant", "group"],
        typer.Argument(
            help="participant scores scans; group makes the tables and the report of all that is scored."
        ),
    ],
    participant_label: Annotated[
        list[str] | None,
        typer.Option(help="Only this participant, with or without sub-; all without. Repeatable."),
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(help="Only this session, with or without ses-. Repeatable.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="A detector's folder, the name of a shipped one, or auto.")
    ] = "auto",
    channel: Channel = None,
    threshold: Annotated[str | None, typer.Option(help="Threshold protocol of the mask.")] = None,
    device: Device = "auto",
) -> None:
    """Score a BIDS dataset into a BIDS derivative (BIDS App): maps, masks and healthy versions
    beside sidecars, participants.tsv, and in OUT/aberra what `aberra detect` writes.
    """
    from aberra.cohort import Cohort
    from aberra.cohort.bids import dataset_of, labelled
    from aberra.console import screen
    from aberra.errors import InputError
    from aberra.output import claim, kind_of
    from aberra.report import write_report
    from aberra.workflows.derivatives import RESULTS, write_derivatives
    from aberra.workflows.detect import detect_cohort
    from aberra.workflows.scores import write_scores

    root = dataset_of(dataset)
    if root is None:
        raise InputError(
            f"{dataset}: no raw BIDS dataset (a dataset_description.json whose DatasetType is raw or missing); "
            "give other folders to `aberra detect`"
        )
    cohort = labelled(Cohort.from_paths(root), participants=participant_label, sessions=session_label)
    failed: dict[str, str] = {}
    if level == "participant":
        model, cohort, channels = detector_for(detector, cohort, channel, device=device)
        claim(out, "derivatives", about={"dataset": str(root)})  # or refuse it, before hours of work
        failed = detect_cohort(
            model, cohort, out=out / RESULTS, channels=channels, protocol=threshold, progress=True
        ).failed
    elif kind_of(out / RESULTS) != "results":
        raise InputError(
            f"{out}: nothing is scored here; run `aberra bids {dataset} {out} participant` first"
        )
    else:
        write_scores(out / RESULTS, cohort, {})
        write_report(out / RESULTS, manifest=cohort)
    count = write_derivatives(out / RESULTS, root, out)
    screen().print(f"{count} participant(s) in {out / 'participants.tsv'}")
    end(failed, f"report: {out / RESULTS / 'report.html'}")
