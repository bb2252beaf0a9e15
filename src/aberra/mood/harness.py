"""Run a submission case by case, as the challenge does: with a time limit, without network."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from aberra.cohort import Cohort
from aberra.cohort.inputs import keep_out
from aberra.cohort.table import SUFFIXES as TABLES
from aberra.console import bars
from aberra.errors import InputError, MismatchError
from aberra.failures import told
from aberra.files import atomic_path, config_hash, csv_text, file_hash, reading, write_json, write_text
from aberra.mood.package import SCRIPT, TASKS
from aberra.mood.runtime import Choice, choose
from aberra.mood.scorer import score
from aberra.mood.truth import Task
from aberra.options import Positive, configured
from aberra.output import check_names, claim
from aberra.versions import versions

if TYPE_CHECKING:
    from aberra.mood.runtime import Container, Ended, Process
    from aberra.mood.scorer import Scores

LIMIT_S = 600.0
"""Seconds that the challenge gives a case."""

COLUMNS = ("task", "case", "status", "seconds", "reason")
DONE = "done"
RESERVED = ("scores-sample", "scores-pixel", "logs", "cases.csv", "run.json", *TASKS)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a submission did.

    Attributes:
        rows: one a task and case: status (``done``, ``failed``, ``timed out``), seconds, reason.
        runtime: ``docker``, ``podman`` or ``process``.
        network: whether it was off.
        kept: cases found finished from before.
        scores: of each task, where there are labels.
    """

    rows: list[dict[str, Any]]
    runtime: str
    network: str
    kept: int
    scores: dict[str, Scores] = field(default_factory=dict)


@configured("mood run")
def run(
    submission: Path,
    cases: Path,
    *,
    out: Path,
    labels: Path | None = None,
    tasks: Sequence[Task] = TASKS,
    dataset: Literal["brain", "abdom"] = "brain",
    limit: Positive = LIMIT_S,
    runtime: Choice = "auto",
    channel: str | None = None,
    split: str | None = None,
    progress: bool = False,
) -> Run:
    """Run ``workspace/run_<task>_<dataset>.sh`` of a submission on one case at a time, and score what
    it predicts.

    Every case is a run of its own, so that the limit is one of a case, which includes starting.
    Finished cases are kept; failed and timed-out ones are tried again by the next call.

    Args:
        submission: a folder with ``workspace/`` and, for containers, ``Dockerfile``.
        cases: a folder of ``<case>.nii.gz``, or a manifest.
        out: folder of predictions (``sample``, ``pixel``), ``cases.csv``, ``run.json``, ``logs`` and
            ``scores-<task>``.
        labels: see :func:`aberra.mood.scorer.score`; None scores nothing.
        tasks: which scripts.
        dataset: which scripts.
        limit: seconds a case.
        runtime: ``docker``, ``podman``, ``process``, or ``auto``: the first that there is.
        channel: manifest column of the scans; may be left out where there is but one.
        split: only this split of a manifest.
        progress: show a progress bar.

    Raises:
        InputError: no cases, no such script, or the image cannot be built.
        ConfigError: the runtime does not answer.
        OutputError: ``out`` holds something else, or lies in what is read.
    """
    scans = _scans(cases, channel, split)
    check_names(scans, RESERVED)
    keep_out(out, [submission, *scans.values()])
    place = choose(submission, runtime)
    contents = [[name, file_hash(path)] for name, path in scans.items()]
    identity = config_hash([file_hash(submission), contents, dataset, place.name])
    claim(out, "submission-run", identity=identity, other="another run is there; choose another --out")
    scripts = {task: SCRIPT.format(task=task, dataset=dataset) for task in tasks}
    place.prepare([*scripts.values()])
    rows = _finished(out)
    kept = sum(task in tasks for task, _ in rows)
    with bars(show=progress) as bar:
        bar_of = {task: bar.add_task(task, total=len(scans)) for task in tasks}
        for task in tasks:
            claim(out / task, "submission-run")
            for name, path in scans.items():
                if (task, name) not in rows:
                    rows[task, name] = _case(
                        place, name, path, task=task, script=scripts[task], out=out, limit=limit
                    )
                    write_text(out / "cases.csv", csv_text(COLUMNS, [rows[key] for key in sorted(rows)]))
                bar.advance(bar_of[task])
    found = Run(
        rows=[rows[key] for key in sorted(rows)], runtime=place.name, network=place.network, kept=kept
    )
    for task in tasks:
        if labels is None:
            break
        found.scores[task] = score(
            out / task, labels, task=task, out=out / f"scores-{task}", team=submission.resolve().name, split=split
        )  # fmt: skip
    content = {"runtime": found.runtime, "network": found.network, "limit": limit, "dataset": dataset}
    write_json(out / "run.json", content | {"cases": found.rows, "versions": versions()})
    return found


def _scans(cases: Path, channel: str | None, split: str | None) -> dict[str, Path]:
    """Case to file.

    Raises:
        InputError: there are none.
        MismatchError: it is not clear which channel.
    """
    if cases.suffix.lower() not in TABLES:
        with reading(cases):
            found = {path.name.removesuffix(".nii.gz"): path for path in sorted(cases.glob("*.nii.gz"))}
        if not found:
            raise InputError(f"{cases}: no cases; expected <case>.nii.gz in a folder, or a manifest (CSV)")
        return found
    cohort = Cohort.read(cases).select(split=split)
    names = cohort.channel_names
    chosen = channel or (names[0] if len(names) == 1 else None)
    if chosen not in names:
        raise MismatchError(
            f"{cases}: {'no channel ' + repr(channel) if channel else 'several channels'}; there are {', '.join(names)}. Name one with --channel"
        )
    found = {case.case: case.channels[chosen] for case in cohort if chosen in case.channels}
    if not found:
        raise InputError(f"{cases}: no case has a scan in '{chosen}'")
    return found


def _finished(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of an earlier call whose predictions are there."""
    with suppress(FileNotFoundError), (out / "cases.csv").open(newline="", encoding="utf-8") as file:
        return {
            (row["task"], row["case"]): row | {"seconds": float(row["seconds"])}
            for row in csv.DictReader(file)
            if row["status"] == DONE and (out / row["task"] / _predicted(row["task"], row["case"])).is_file()
        }
    return {}


def _predicted(task: str, name: str) -> str:
    """The file that a submission has to write."""
    return f"{name}.nii.gz" + (".txt" if task == "sample" else "")


def _case(
    place: Process | Container, name: str, path: Path, *, task: Task, script: str, out: Path, limit: float
) -> dict[str, Any]:
    """One case: what it is given, what came of it."""
    row = {"task": task, "case": name, "status": "failed", "seconds": 0.0, "reason": ""}
    with TemporaryDirectory(prefix="aberra-mood-") as scratch:
        source, target = Path(scratch) / "data", Path(scratch) / "pred"
        source.mkdir()
        target.mkdir()
        try:
            _give(path, source / f"{name}.nii.gz")
            ended = place.run(script, source, target, limit)
            row["seconds"] = round(ended.seconds, 2)
            row |= _judged(ended, target / _predicted(task, name), limit)
            if row["status"] == DONE:
                with atomic_path(out / task / _predicted(task, name)) as temporary:
                    shutil.copyfile(target / _predicted(task, name), temporary)
            else:
                claim(out / "logs", "logs")
                write_text(out / "logs" / f"{name}-{task}.log", ended.log)
        except Exception as error:  # noqa: BLE001 - one case never ends the others
            row["reason"] = told(error, out, name)
    return row


def _give(path: Path, target: Path) -> None:
    """Put a scan where the submission looks for it, as NIfTI."""
    from aberra.volume import Volume

    if path.name.endswith(".nii.gz"):
        with reading(path):
            shutil.copyfile(path, target)
    else:
        Volume.read(path).write(target)


def _judged(ended: Ended, predicted: Path, limit: float) -> dict[str, str]:
    """Status and reason."""
    last = next((line.strip() for line in reversed(ended.log.splitlines()) if line.strip()), "")
    if ended.code is None:
        return {"status": "timed out", "reason": f"not finished after {limit:g} s"}
    if ended.code:
        return {"status": "failed", "reason": f"exit code {ended.code}: {last[:300]}"}
    if not predicted.is_file():
        return {"status": "failed", "reason": f"wrote no {predicted.name}"}
    return {"status": DONE, "reason": ""}
