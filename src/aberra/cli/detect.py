"""``aberra detect``: maps, masks, p-values and a report."""

from __future__ import annotations

from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aberra.cli.shared import (
    SLURM,
    Channel,
    Device,
    Jobs,
    On,
    Part,
    Split,
    check_device,
    detector_for,
    end,
    print_array_job,
)

if TYPE_CHECKING:
    from aberra.workflows.detect import Dicom, Summary

ARRAY = 100
"""Tasks of a Slurm array, where nothing else is asked for and there are as many cases."""


def detect(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="A detector's folder, the name of a shipped one (flair, t1, t2, any-contrast, t1-white-matter, t2-white-matter), or auto: the shipped one for the scan's "
            "sequence. May be left out, which is auto."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="Folder of the results.")],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False, help="Scan files, DICOM folders, folders of scans, a BIDS dataset, or a manifest."
        ),
    ] = None,
    channel: Channel = None,
    split: Split = None,
    threshold: Annotated[
        str | None, typer.Option(help="Threshold protocol of the mask; the calibration's default without.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices or patches at once; chosen by memory without.")
    ] = None,
    part: Part = None,
    on: On = None,
    jobs: Jobs = None,
    device: Device = "auto",
    gate: Annotated[
        str | None,
        typer.Option(
            "--gate",
            help="A second detector, calibrated: where a scan is unlike what it has learnt, the result says that it is not trusted.",
        ),
    ] = None,
    gate_level: Annotated[float, typer.Option(help="P-value of the gate at which it is shut.")] = 0.05,
    refine: Annotated[
        str | None,
        typer.Option(
            "--refine",
            help="A second detector that outlines what is in the scans that this one takes for unusual; its results are DIR/refined.",
        ),
    ] = None,
    refine_level: Annotated[
        float, typer.Option(help="Greatest p-value of the first one at which the second is asked.")
    ] = 0.05,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Beside NIfTI, DICOM objects of cases that are DICOM series: segmentations, parametric map and report (DIR/CASE/dicom).",
        ),
    ] = False,
    dicom_overlay: Annotated[
        bool,
        typer.Option(
            "--dicom-overlay", help="The same, and the map over the scan as a series of colour pictures."
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Redo cases that another input left in DIR, or all of another model (give them all).",
        ),
    ] = False,
) -> None:
    """Score scans: per case a map, mask, reconstruction and result.json; scores.csv and report.html
    for all.
    """
    from aberra.cohort import Cohort
    from aberra.cohort.bids import dataset_of
    from aberra.console import screen
    from aberra.detector import Detector
    from aberra.detector.folder import is_detector, resolve_model
    from aberra.errors import InputError
    from aberra.jobs import engine
    from aberra.sequence import AUTO
    from aberra.workflows.derivatives import write_derivatives
    from aberra.workflows.detect import BIDS, detect_cohort, has_series
    from aberra.workflows.gate import Gate
    from aberra.workflows.refine import check_refine
    from aberra.workflows.refine import refine as refined

    check_device(device, on)
    console = screen()
    objects: Dicom = "overlay" if dicom_overlay else "objects" if dicom else "none"
    given = list(paths or [])
    if model != AUTO and not is_detector(model) and lexists(model):
        model, given = AUTO, [Path(model), *given]
    if not given:
        raise InputError("no scan given; as in `aberra detect auto scan.nii.gz --out results`")
    if model != AUTO:
        resolve_model(model)  # a wrong name is said before a long manifest is read
    cohort = Cohort.from_paths(given).select(split=split)
    if on == SLURM:
        print_array_job(
            context, min(jobs or ARRAY, len(cohort)), what=f"{len(cohort)} case(s)", device=device
        )
        return
    cohort = cohort.part(part) if part else cohort
    if objects != "none" and not any(map(has_series, cohort)):
        raise InputError(f"{cohort.source}: no DICOM series, which --dicom needs; leave it out")
    dataset = dataset_of(Path(str(cohort.source)))
    detector, cohort, channel = detector_for(model, cohort, channel, device=device, batch_size=batch_size)
    specialist = Detector.load(refine, device=device, batch_size=batch_size) if refine else None
    if specialist is not None:
        check_refine(detector, refine_level)
    second = Gate(detector=Detector.load(gate, device=device), level=gate_level) if gate else None
    with engine(on, jobs, gpus=device.startswith("cuda")) as where:
        common: dict[str, Any] = {
            "channels": channel, "overwrite": overwrite, "dicom": objects, "progress": True, "on": where
        }  # fmt: skip
        summary = detect_cohort(detector, cohort, out=out, protocol=threshold, gate=second, **common)
        console.print(
            f"{summary.done} case(s) scored, {summary.kept} kept from before, {len(summary.failed)} failed"
        )
        _tell_objects(summary, objects)
        if specialist is not None:
            more = refined(out, specialist, cohort, level=refine_level, **common)
            _tell_refined(more, f"p at most {refine_level:g} refined by {refine}: {out / 'refined'}")
            _tell_objects(more, objects)
            summary.failed |= {f"{case} (refined)": reason for case, reason in more.failed.items()}
    if dataset is not None:
        write_derivatives(out, dataset, out / BIDS)
        console.print(f"BIDS derivative: {out / BIDS}")
    end(summary.failed, f"scores: {out / 'scores.csv'}\nreport: {out / 'report.html'}")


def _tell_refined(summary: Summary, how: str) -> None:
    from aberra.console import screen

    screen().print(f"{summary.done + summary.kept} case(s) with {how}")


def _tell_objects(summary: Summary, asked: Dicom) -> None:
    """Say how many cases have DICOM objects; those that should and do not count as failed."""
    from aberra.console import screen

    if asked == "none":
        return
    others = summary.done + summary.kept - summary.with_objects - len(summary.without_objects)
    none = f", {others} are no DICOM series" if others else ""
    screen().print(f"DICOM objects of {summary.with_objects} case(s){none}")
    summary.failed |= {f"{case} (DICOM)": reason for case, reason in summary.without_objects.items()}
