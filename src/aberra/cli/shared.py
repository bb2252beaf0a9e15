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
SLURM = "slurm"
"""Of ``--on``: what is printed instead of done."""

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        help="Share the work out: processes; ray, on this machine; ray://HOST:PORT, a cluster; slurm, which prints an array job. "
        "Without, all is done in this process.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Of --on, how many at a time; of slurm, parts. As many as cores without."
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        help="Only one of so many parts of the work, as in 3/8: for several processes or machines, which write into one DIR."
    ),
]
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


def check_device(device: str, on: str | None) -> None:
    """Refuse a device that is not there, before data are read; a Slurm job's is elsewhere."""
    from aberra.devices import choose_device

    if on != SLURM:
        choose_device(device)


def print_array_job(context: typer.Context, parts: int, *, what: str, device: str) -> None:
    """Print a Slurm job that does what the command line asks for, in parts.

    Args:
        context: of the command; what was given goes on, all but ``--on``, ``--jobs`` and ``--part``.
            A command that can resume does.
        parts: tasks of the array.
        what: the parts are of.
        device: as asked for.
    """
    import sys

    from aberra.jobs.slurm import array_job

    given = _given(context, without=("on", "jobs", "part", "resume"))
    resumes = any(parameter.name == "resume" for parameter in context.command.params)
    command = [
        sys.executable, "-m", "aberra", str(context.info_name), *["--resume"] * resumes, *given
    ]  # fmt: skip
    typer.echo(
        array_job(
            command, parts, name=f"aberra-{context.info_name}", what=what, gpu=device.startswith("cuda")
        ),
        nl=False,
    )


def _given(context: typer.Context, without: Sequence[str]) -> list[str]:
    """The options and arguments that the command line had."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in without or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        values = [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
        if parameter.param_type_name == "argument":
            arguments += values
        elif value is True:
            options.append(parameter.opts[0])
        else:
            options += [text for each in values for text in (parameter.opts[0], each)]
    return [*options, *["--"] * any(each.startswith("-") for each in arguments), *arguments]


def end(failed: Mapping[str, str], last: str) -> None:
    """Print what failed and a last line; the exit code is 1 where something did."""
    from aberra.console import screen, styled

    console = screen()
    for name, reason in failed.items():
        console.print(styled(("failed", "red"), f" {name}: {reason}"))
    console.print(last)
    if failed:
        raise typer.Exit(1)
