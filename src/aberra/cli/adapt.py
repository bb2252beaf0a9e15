"""``aberra adapt``: teach a segmenter what a detector finds in the scans of a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Channel, Device


def adapt(
    model: Annotated[
        str, typer.Argument(help="The teacher: a detector's folder, or the name of a shipped one.")
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(
            readable=False,
            help="The site's scans: a manifest, files or folders. Label 0 is healthy; of all others the teacher says where lesions are.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the adapted detector.")],
    student: Annotated[
        str | None,
        typer.Option(
            help="A method that learns from masks; without it the one that goes with the teacher (unet-3d, unet)."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change one setting of the student, as in training.steps=800. Repeatable."
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of teaching; each student teaches the next.")
    ] = 1,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Threshold protocol of the teacher above which a voxel is lesion; its default without."
        ),
    ] = None,
    doubt: Annotated[
        str | None,
        typer.Option(help="A lower one: voxels between the two are not learnt from, as in healthy-fpr-5."),
    ] = None,
    regions: Annotated[
        bool,
        typer.Option(
            "--regions", help="A region above --doubt that reaches above --threshold is lesion as a whole."
        ),
    ] = False,
    labelled: Annotated[
        int,
        typer.Option(min=0, help="Patients of the split train whose outlines in column lesion are used."),
    ] = 0,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Draw the student's weights; do not begin with the teacher's.")
    ] = False,
    channel: Channel = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 0,
    device: Device = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Folder of prepared cases and teachers' maps, shared between runs."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that prepare cases.", min=1)] = 2,
) -> None:
    """Adapt a detector to a site without outlines: a segmenter learns what the detector finds there.

    Run again, it goes on where it stopped.
    """
    from aberra.cohort import Cohort
    from aberra.console import screen, warn
    from aberra.detector import Detector
    from aberra.detector.folder import resolve_model
    from aberra.devices import choose_device
    from aberra.method import Method, parse_settings
    from aberra.workflows.adapt import adapt as learn

    choose_device(device)
    resolve_model(model)
    chosen = Method.load(student) if student else None
    rules = {"threshold": threshold, "doubt": doubt, "regions": regions, "outlined": labelled}
    told = {f"training.{key}": value for key, value in rules.items() if value}
    cohort = Cohort.from_paths(list(paths))
    warn(cohort.warnings)
    detector = learn(
        Detector.load(model, device=device), cohort, out=out, student=chosen,
        settings=told | parse_settings(settings or []), rounds=rounds, scratch=scratch, channels=channel, seed=seed,
        device=device, cache=cache, workers=workers, progress=True,
    )  # fmt: skip
    console, facts = screen(), detector.facts
    console.print(f"detector: {out}")
    console.print(
        f"learnt:   {facts['guessed_cases']} case(s) as the teacher sees them, {facts['outlined_cases']} as outlined"
    )
    for key, what in (("guessed_nothing", "the teacher finds nothing"), ("not_guessed", "cannot be read")):
        if facts[key]:
            console.print(f"left out: {len(facts[key])} case(s) in which {what}: {', '.join(facts[key][:5])}")
    if detector.calibration is None:
        console.print(f"not calibrated (no held-out cases): aberra calibrate {out} MANIFEST")
    else:
        for note in detector.calibration.notes:
            console.print(f"note: {note}")
    console.print(f"next:     aberra detect {out} PATH --out DIR")
