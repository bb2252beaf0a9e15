"""``aberra fit``: learn from healthy scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import SLURM, Device, Jobs, On, Part, print_array_job


def fit(
    context: typer.Context,
    method: Annotated[
        str, typer.Argument(help="A catalogue name (`aberra methods`) or a method's TOML file.")
    ],
    manifest: Annotated[
        Path,
        typer.Argument(readable=False, help="CSV of the cohort; its `train` split is learnt, `val` watched."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the detector.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change one setting: section.key=value, as in model.latent=64. Repeatable."
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel", help="Manifest column to learn from; all complete ones without. Repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run of the same settings stopped.")
    ] = False,
    on: On = None,
    jobs: Jobs = None,
    part: Part = None,
    device: Device = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Folder of prepared cases, shared between runs; without it they are kept in OUT until done.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that prepare cases.", min=1)] = 2,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write losses and pictures for TensorBoard, too: `tensorboard --logdir OUT/run`.",
        ),
    ] = False,
) -> None:
    """Learn what healthy looks like: prepare the cohort, train, calibrate on held-out healthy
    cases.
    """
    from aberra.cohort import Cohort
    from aberra.console import screen
    from aberra.detector import Detector
    from aberra.devices import choose_device, ranks
    from aberra.jobs import engine
    from aberra.method import Method, parse_settings
    from aberra.workflows.members import members_of

    chosen = Method.load(method, parse_settings(settings or []))
    if on == SLURM:
        count = members_of(chosen)
        print_array_job(context, min(jobs or count, count), what=f"{count} members", device=device)
        return
    choose_device(device)  # before the data are read
    first = ranks()[0] == 0
    cohort = Cohort.read(manifest)
    with engine(on, jobs, gpus=device.startswith("cuda")) as where:
        detector = Detector.fit(
            chosen, cohort, out=out, channels=channel, seed=seed, resume=resume, device=device, cache=cache,
            workers=workers, tensorboard=tensorboard, progress=first, on=where, part=part or "",
        )  # fmt: skip
    console = screen(quiet=not first)
    console.print(f"detector: {out}")
    if taken := detector.facts.get("start_tensors"):
        console.print(f"start:    {taken} tensors from {chosen.training['start']}")
    if detector.calibration is None:
        console.print(f"not calibrated (no held-out healthy cases): aberra calibrate {out} MANIFEST")
    else:
        for note in detector.calibration.notes:
            console.print(f"note: {note}")
    console.print(f"next:     aberra detect {out} PATH --out DIR")
