"""A folder of cases that are made here: claimed by its settings, written in parallel, completed
after an interruption.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.cohort.case import MAPS
from aberra.cohort.inputs import keep_out
from aberra.console import bars
from aberra.files import config_hash, csv_text, read_json, recorded, tidy, write_text
from aberra.output import check_held, check_names, claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from aberra.volume import Volume

WORTH_S = 5.0
"""Seconds of work from which on further processes, each of which imports everything first, save
time."""


def write_folder(
    folder: Path,
    settings: Mapping[str, Any],
    jobs: Mapping[str, Callable[[], None]],
    *,
    title: str,
    inputs: Iterable[Path] = (),
    workers: int = 2,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Write the cases that are missing and return the records of all, in order.

    Args:
        folder: of the cohort.
        settings: everything the files depend on; kept in the folder's mark and compared before
            anything is added.
        jobs: case name to a call (fit for another process) that writes the case, ``<case>.json``
            last.
        title: of the progress bar.
        inputs: files and folders that are read.
        workers: most processes; what the first case took says whether more than this one pay.
        progress: show the bar.

    Raises:
        OutputError: the folder holds something else, or what is read.
    """
    identity = config_hash(settings)
    check_names(jobs)
    keep_out(folder, inputs)
    claim(
        folder,
        "cohort",
        identity=identity,
        other="a cohort of other settings is there already; choose another folder",
        # nothing written is what a call leaves that failed at its first case: other settings are
        # the remedy then
        replace=not recorded(folder),
        about={"plan": {**settings}},
    )
    done = recorded(folder)
    missing = [
        partial(_written, folder, identity, job)
        for name, job in jobs.items()
        if not (f"{name}.json" in done and (folder / f"{name}.json").is_file())
    ]
    with bars(show=progress) as bar:
        task = bar.add_task(title, total=len(jobs), completed=len(jobs) - len(missing))
        began, first, rest = process_time(), missing[:1], missing[1:]
        for job in first:
            job()
            bar.advance(task)
        if workers > 1 and len(rest) > 1 and (process_time() - began) * len(rest) > WORTH_S:
            with ProcessPoolExecutor(min(workers, len(rest)), mp_context=get_context("spawn")) as pool:
                try:
                    for each in as_completed([pool.submit(job) for job in rest]):
                        each.result()
                        bar.advance(task)
                except BaseException:  # tell what is wrong now, not after the cases that wait
                    pool.shutdown(cancel_futures=True)
                    raise
        else:
            for job in rest:
                job()
                bar.advance(task)
    return [read_json(folder / f"{name}.json") for name in jobs]


def _written(folder: Path, identity: str, job: Callable[[], None]) -> None:
    """Write a case, unless the folder has become another run's."""
    check_held(folder, identity)
    job()


def spread(index: int, cases: int, share: float) -> bool:
    """Whether case ``index`` is one of the round(cases · share) that are spread evenly over all."""
    count = round(cases * share)
    return (index + 1) * count // cases > index * count // cases


def write_files(folder: Path, name: str, volume: Volume) -> dict[str, str]:
    """Write a case's channels, mask and lesion (its label values) as NIfTI; returns column to file
    name.
    """
    files = {}
    for index, channel in enumerate(volume.channels):
        files[channel] = f"{name}_{channel}.nii.gz"
        volume.with_(data=volume.data[index : index + 1], channels=(channel,)).write(folder / files[channel])
    for label, array in (("mask", volume.mask), ("lesion", volume.labels)):
        if array is not None:
            files[label] = f"{name}_{label}.nii.gz"
            flat = volume.with_(data=array[None].astype(np.float32), channels=("mask",))
            flat.write(folder / files[label])
    return files


def write_manifest(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    channels: Sequence[str] | None = None,
    *,
    name: str = "manifest.csv",
) -> Path:
    """Write a manifest and return its path.

    Args:
        folder: of the cohort.
        records: each with ``case``, ``patient``, ``files``, ``groups`` and ``label``.
        channels: columns in order; None takes them from the files.
        name: of the file.
    """
    if channels is None:
        named = (key for record in records for key in record["files"])
        channels = [key for key in dict.fromkeys(named) if key not in MAPS]
    groups = list(dict.fromkeys(key for record in records for key in record["groups"]))
    signed = ["truth"] if any("truth" in record["files"] for record in records) else []
    columns = ["case", "patient", *channels, "mask", "lesion", *signed, "label", *groups]
    own = ("case", "patient", "label")
    rows = [record["groups"] | record["files"] | {key: record[key] for key in own} for record in records]
    write_text(folder / name, csv_text(columns, rows))
    tidy(folder)
    return folder / name
