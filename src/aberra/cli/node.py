"""``aberra node``: behind an archive, analyse what is new and send back what is found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Device


def node(
    folder: Annotated[Path, typer.Argument(readable=False, help="Folder of the state; one node a folder.")],
    archive: Annotated[
        str,
        typer.Option("--archive", help="Root of the archive's DICOMweb, as in http://pacs:8042/dicom-web."),
    ],
    detector: Annotated[
        str, typer.Option(help="A detector's folder or name, or auto, as for `detect`.")
    ] = "auto",
    once: Annotated[
        bool, typer.Option("--once", help="Look once, do what is ready, leave; for cron.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 30.0,
    quiet: Annotated[
        float, typer.Option(min=0, help="Seconds without a new instance after which a series is whole.")
    ] = 60.0,
    days: Annotated[int, typer.Option(min=0, help="Look at studies of so many days; 0 for all.")] = 7,
    modality: Annotated[
        list[str] | None, typer.Option(help="Modality that is analysed, MR without. Repeatable.")
    ] = None,
    body_part: Annotated[
        list[str] | None,
        typer.Option(
            help="Body part that is analysed, BRAIN and HEAD without, and what does not say. Repeatable."
        ),
    ] = None,
    accept_gaps: Annotated[
        bool, typer.Option("--accept-gaps", help="Analyse series whose slice numbers have gaps, too.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Take series by C-STORE here instead of looking for them at the archive."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for every one.")] = "127.0.0.1",
    title: Annotated[str, typer.Option("--aet", help="Application entity title of the receiver.")] = "ABERRA",
    dicom_overlay: Annotated[
        bool, typer.Option("--dicom-overlay", help="Send colour pictures of the map over the scan, too.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep scans and results in the folder when they are sent.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Take up again what was refused or has failed.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Watch an archive: analyse new series, send segmentation, map and report back."""
    from aberra.console import screen
    from aberra.detector.folder import resolve_model
    from aberra.devices import choose_device
    from aberra.node.archive import Archive
    from aberra.node.loop import Node
    from aberra.sequence import AUTO

    choose_device(device)
    if detector != AUTO:
        resolve_model(detector)
    console = screen()
    watcher = Node(
        folder=folder, archive=Archive(archive), detector=detector, quiet=quiet, days=days,
        modalities=tuple(modality or ("MR",)),
        body_parts=tuple(each.upper() for each in body_part or ("BRAIN", "HEAD")),
        gaps=accept_gaps, dicom="overlay" if dicom_overlay else "objects", keep=keep, device=device,
        receive=port is not None,
        log=lambda line: console.print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"),
    )  # fmt: skip
    failed = watcher.run(once=once, every=every, listen=(host, port, title) if port else None, again=retry)
    if failed:
        raise typer.Exit(1)
