"""``aberra benchmark``: many methods on the same cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aberra.cli.shared import SLURM, Device, Jobs, On, Part, end, print_array_job

SUITES = ", ".join(sorted(path.stem for path in Path(__file__).parents[1].glob("benchmark/suites/*.toml")))


def benchmark(
    context: typer.Context,
    suite: Annotated[
        str,
        typer.Argument(help=f"A shipped suite ({SUITES}) or a TOML file."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the results.")],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a run of the same suite; finished cells whose method and data are as they were are kept.",
        ),
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this row, by label or method. Repeatable.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task. Repeatable.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds (0, 1, …); the suite's own without.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting of every method that has it, as in prepare.size=64, or budget.steps=500. Repeatable.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Folder that manifests and lesion masks of the suite lie in.",
        ),
    ] = None,
    on: On = None,
    jobs: Jobs = None,
    part: Part = None,
    device: Device = "auto",
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep map and mask of every case; takes gigabytes.")
    ] = False,
) -> None:
    """Train and compare methods on a suite's cohorts; results.csv, tables and figures.

    Interrupt and resume at will.
    """
    from aberra.benchmark import Suite, run
    from aberra.benchmark.plan import planned, shared_out
    from aberra.console import screen, styled
    from aberra.jobs import engine
    from aberra.method import parse_settings

    asked = Suite.load(suite, parse_settings(settings or []))
    chosen: dict[str, Any] = {"only": only or (), "tasks": task or (), "seeds": seeds}
    if on == SLURM:
        count = len(shared_out(asked, planned(asked, **chosen)))
        print_array_job(context, min(jobs or count, count), what=f"{count} job(s)", device=device)
        return
    with engine(on, jobs, gpus=device.startswith("cuda")) as where:
        summary = run(
            asked, out, resume=resume, **chosen, data=data, device=device, keep_maps=keep_maps, on=where, part=part or ""
        )  # fmt: skip
    console = screen()
    again = f" ({summary.again} again: their method or data have changed)" if summary.again else ""
    console.print(
        f"{summary.done} cell(s) measured{again}, {summary.kept} kept, {len(summary.failed)} row(s) failed, {len(summary.skipped)} task(s) skipped"
    )
    for name, reason in summary.skipped.items():
        console.print(styled(("skipped", "yellow"), f" {name}: {reason}"))
    end(summary.failed, f"results: {out / 'results.csv'}\ntables:  {out / 'tables' / 'index.html'}")
