"""Runs a suite cell by cell; what is finished is kept, so a killed run goes on at the unfinished
cell.

A cell is kept as long as the method, as the suite sets it, and the data are those that it was
measured with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aberra.benchmark.cohorts import MissingDataError, share_of, task_cohorts
from aberra.benchmark.machine import commit, machine, peak_memory
from aberra.benchmark.plan import Planned, planned, shared_out, trained_apart
from aberra.benchmark.rows import file_name, read_cells, results_csv, rows_of_cell, short
from aberra.capabilities import HasUnit
from aberra.cohort.splits import split_hash
from aberra.console import screen, styled
from aberra.covariates import learnt
from aberra.errors import AberraError, OutputError
from aberra.failures import told
from aberra.files import config_hash, discard, file_hash, locked, read_json, read_mark, write_json, write_text
from aberra.jobs import HERE, Job, share
from aberra.output import claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from aberra.benchmark.suite import Entry, Suite, Task
    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.jobs import Engine
    from aberra.method import Method


@dataclass
class Summary:
    """What a run did.

    Attributes:
        done: cells measured now.
        kept: cells found finished.
        again: of the cells measured now, those whose method or data have changed since.
        skipped: task to why it cannot run here.
        failed: ``task / label / seed`` to the reason.
    """

    done: int = 0
    kept: int = 0
    again: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: Summary) -> None:
        """Add what was done elsewhere."""
        for each in fields(self):
            own, theirs = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, own | theirs if isinstance(own, dict) else own + theirs)


@dataclass(frozen=True)
class _Run:
    """What all cells of a run share."""

    suite: Suite
    out: Path
    data: Path | None
    device: str
    keep_maps: bool
    progress: bool

    @property
    def console(self) -> Console:
        """Says on standard error what is being done."""
        return screen(stderr=True, quiet=not self.progress)


def run(
    suite: Suite,
    out: Path,
    *,
    resume: bool = False,
    only: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: int | None = None,
    data: Path | None = None,
    device: str = "auto",
    keep_maps: bool = False,
    progress: bool = True,
    on: Engine = HERE,
    part: str = "",
) -> Summary:
    """Run a suite and write ``results.csv``, ``tables/`` and ``figures/``.

    A cell is a task × method × seed × test cohort; its folder ``out/cells/...`` holds one JSON
    file, written whole. A cell whose method (its settings under this suite), seed or data are no
    longer those it was measured with is measured again. A method that agrees with another in model,
    training and preparation uses the same trained weights (``out/models``). The maps of a finished
    cell are deleted unless ``keep_maps``.

    Args:
        suite: what to run.
        out: folder of the results.
        resume: go on with a run of the same suite.
        only: labels or methods; all without.
        tasks: names; all without.
        seeds: how many of the suite's seeds, 0, 1, ... beyond its own; None is the suite's.
        data: folder of manifests and lesion masks.
        device: ``auto``, ``cpu`` or ``cuda``.
        keep_maps: keep maps and masks of every case (gigabytes).
        progress: show progress.
        on: who measures the rows (:func:`aberra.jobs.engine`); those that share trained weights are
            one job.
        part: only one of several parts of these jobs, as in ``2/8``.

    Raises:
        OutputError: ``out`` holds results and ``resume`` is off, or results of another suite.
        ConfigError: an unknown method, task or setting.
        MismatchError: no such part.
        JobError: a process that ``on`` started could not go on.
    """
    from aberra.devices import choose_device

    choose_device(device)
    rows = planned(suite, only=only, tasks=tasks, seeds=seeds)
    if part:
        rows = [row for job in share(shared_out(suite, rows), part, "job(s)") for row in job]
    _claim(out, suite, resume=resume)
    shared = _Run(suite, out, data, device, keep_maps, progress)
    summary = Summary()
    if on is HERE:
        for row, tested in _with_data(shared, rows, summary):
            _run_row(shared, row, tested, summary)
    else:
        known = dict(_with_data(shared, rows, summary))
        away = replace(shared, progress=False)
        jobs = [
            Job(str(job[0]), {"shared": away, "rows": [(row, known[row]) for row in job]})
            for job in shared_out(suite, list(known))
        ]
        for found in on.do(_run_rows, jobs, progress=progress):
            summary.add(found)
    with locked(out):  # of two processes the last one tabulates what both have done
        report(suite, out)
    return summary


def _with_data(
    shared: _Run, rows: Sequence[Planned], summary: Summary
) -> Iterator[tuple[_Row, dict[str, _Data]]]:
    """Rows with what they learn from and are tested on, as it becomes their turn; a task without
    its data is skipped.
    """
    # every file is read for its hash: once a task, not once a row
    known: dict[tuple[str, int | None], tuple[dict[float, _Data], dict[str, _Data]]] = {}
    for row in rows:
        order = row.seed if shared.suite.resplit else None
        if row.task.name in summary.skipped:
            continue
        try:
            if (row.task.name, order) not in known:
                entries = [each.entry for each in rows if each.task is row.task]
                known[row.task.name, order] = _cohorts(shared, row.task, entries, order)
        except MissingDataError as error:
            summary.skipped[row.task.name] = str(error)
            shared.console.print(styled(("skipped", "yellow"), f" task {row.task.name}: {error}"))
            continue
        shares, tested = known[row.task.name, order]
        yield _Row(row.task, row.entry, row.seed, shares[row.entry.subjects]), tested


def _run_rows(shared: _Run, rows: Sequence[tuple[_Row, dict[str, _Data]]]) -> Summary:
    """Measure rows in a process of its own."""
    summary = Summary()
    for row, tested in rows:
        _run_row(shared, row, tested, summary)
    return summary


def report(suite: Suite, out: Path) -> None:
    """Write results.csv, tables and figures from the cells that are finished."""
    from aberra.benchmark.figures import write_figures
    from aberra.benchmark.tables import write_tables

    cells = read_cells(out)
    if not cells.rows:
        return
    write_text(out / "results.csv", results_csv(cells.rows))
    write_figures(
        out, cells.rows, cells.histograms, pictures=cells.pictures, protocol=suite.protocol, metrics=suite.metrics,
        compare={task.name: task.compare for task in suite.tasks},
    )  # fmt: skip
    write_tables(
        out, cells.rows, cells.replicates, cells.patients, protocol=suite.protocol, metrics=suite.metrics
    )


def _claim(out: Path, suite: Suite, *, resume: bool) -> None:
    known = read_mark(out)
    other = f"results of suite '{(known or {}).get('name')}' with other cohorts, settings or budget; choose another --out"
    claim(out, "benchmark", identity=suite.identity, other=other, about={"name": suite.name})
    if known is not None and not resume:
        raise OutputError(f"{out}: there are results already; add --resume to go on with them")
    for name in ("cells", "tables", "figures"):
        claim(out / name, "benchmark")


@dataclass(frozen=True)
class _Data:
    """A cohort and the hash of its files and splits."""

    cohort: Cohort
    hash: str

    @classmethod
    def of(cls, cohort: Cohort) -> _Data:
        return cls(cohort, config_hash([cohort.data_hash(), split_hash(cohort)]))

    def known(self, columns: Sequence[str]) -> str:
        """The hash with what is known of the people in these columns, of models that are told it."""
        return config_hash([self.hash, self.cohort.covariates_hash(columns)]) if columns else self.hash


def _cohorts(
    shared: _Run, task: Task, entries: Sequence[Entry], order: int | None
) -> tuple[dict[float, _Data], dict[str, _Data]]:
    """What the rows of a task learn from, by the share of patients, and what they are tested on, by
    name.
    """
    folder = shared.out / "cohorts"
    folder.mkdir(exist_ok=True)
    with locked(folder):  # of several processes the first one draws them
        learn, tested = task_cohorts(
            shared.suite, task, folder, shared.data, device=shared.device, progress=shared.progress,
            order=order,
        )  # fmt: skip
    shares = {share: _Data.of(share_of(learn, share)) for share in {entry.subjects for entry in entries}}
    return shares, {name: _Data.of(cohort) for name, cohort in tested.items()}


@dataclass(frozen=True, eq=False)
class _Row(Planned):
    """A row and what it learns from."""

    learn: _Data

    @property
    def slug(self) -> str:
        """Label and seed as part of a file name."""
        return f"{file_name(self.entry.label)}-{self.seed}"

    def file(self, out: Path, cohort: str) -> Path:
        """Where a cell is kept."""
        return out / "cells" / self.task.name / cohort / f"{self.slug}.json"


def _run_row(shared: _Run, row: _Row, tested: dict[str, _Data], summary: Summary) -> None:
    """Measure a row cohort by cohort; finished cells of the same method and data are kept."""
    files = {cohort: row.file(shared.out, cohort) for cohort in tested}
    try:
        fitted = _identity(shared, row)
        columns = () if row.entry.detector else learnt(shared.suite.method(row.task, row.entry).model)
        keys = {cohort: config_hash([fitted, data.known(columns)]) for cohort, data in tested.items()}
        known = {cohort: read_json(file).get("key") for cohort, file in files.items() if file.is_file()}
        missing = [cohort for cohort in files if known.get(cohort) != keys[cohort]]
        stale = [cohort for cohort in missing if cohort in known]
        summary.kept += len(files) - len(missing)
        if not missing:
            return
        shared.console.print(styled((str(row), "bold"), f": {', '.join(missing)}"))
        if stale:
            shared.console.print(f"measured again, since method or data have changed: {', '.join(stale)}")
        detector, facts = _fitted(shared, row, fitted)
        for cohort in missing:
            name = f"{row.task.name}-{cohort}-{row.slug}"
            picture = files[cohort].with_suffix(".npz")
            cell = _measure(shared, detector, tested[cohort].cohort, name, picture=picture)
            common = facts | {
                "suite": shared.suite.name, "task": row.task.name, "cohort": cohort, "label": row.entry.label,
                "seed": row.seed, "subjects": row.entry.subjects, "sweep": ";".join(f"{key}={short(value)}" for key, value in row.entry.sweep.items()),
            }  # fmt: skip
            kept = rows_of_cell(cell, common, shared.suite.protocol)
            write_json(files[cohort], {"key": keys[cohort]} | kept)
            summary.done += 1
            summary.again += cohort in stale
    except Exception as error:  # noqa: BLE001 - one row never ends a run
        summary.failed[str(row)] = told(error, shared.out, f"{row.task.name}-{row.slug}")
        shared.console.print(styled(("failed", "red"), f" {row}: {summary.failed[str(row)]}"))


def _identity(shared: _Run, row: _Row) -> str:
    """Hash of all that a row's calibrated detector depends on."""
    from aberra.detector.folder import resolve_model

    if row.entry.detector:
        return config_hash([file_hash(resolve_model(row.entry.detector) / "detector.toml"), row.learn.hash])
    method = shared.suite.method(row.task, row.entry)
    return config_hash([method.settings, row.seed, row.learn.known(learnt(method.model))])


def _fitted(shared: _Run, row: _Row, identity: str) -> tuple[Detector, dict[str, Any]]:
    """Train, or take the weights that another row has trained; then calibrate with the row's own
    question.
    """
    from aberra.detector import Detector

    asked = shared.out / "detectors" / row.task.name / f"{row.slug}-{identity[:8]}"
    with peak_memory() as peak:
        if not (asked / "detector.toml").is_file():
            _fit(shared, row, asked)
    detector = Detector.load(asked, device=shared.device)
    score = detector.question.score.score
    facts = {
        "method": detector.method.name,
        "family": detector.method.family,
        "baseline": int(detector.method.baseline),
        "unit": score.unit if isinstance(score, HasUnit) else "",
        "parameters": sum(weight.numel() for weight in detector.model.parameters()) or None,
        "training_seconds": detector.facts.get("training_seconds"),
        "steps": detector.facts.get("training_steps"),
        "late_gain": detector.facts.get("training_late_gain"),
        "fit_peak_mb": peak.mb,
        "split_hash": detector.facts.get("split_hash", split_hash(row.learn.cohort)),
    }
    return detector, facts


def _fit(shared: _Run, row: _Row, asked: Path) -> None:
    """Save the calibrated detector of a row in ``asked``."""
    from aberra.detector import Detector
    from aberra.workflows.calibrate import calibrate

    validation = row.learn.cohort.select(split="val")
    if row.entry.detector:
        detector = Detector.load(row.entry.detector, device=shared.device)
        if detector.calibration is not None and not len(validation.select(healthy=True)):
            detector.save(asked)  # nothing to calibrate it on: its own thresholds stay
            return
        calibrate(detector, validation, out=asked, progress=shared.progress)
        return
    method = shared.suite.method(row.task, row.entry)
    folder, trained = _model(shared, row, method)
    if (folder / "detector.toml").is_file():
        detector = Detector.load(folder, device=shared.device)
    else:
        detector = Detector.fit(
            method, row.learn.cohort, out=folder, seed=row.seed, resume=True, device=shared.device,
            cache=shared.out / "prepared", calibrated=False, trained=trained, progress=shared.progress,
        )  # fmt: skip
    calibrate(detector, validation, method=method, out=asked, progress=shared.progress)


def _model(shared: _Run, row: _Row, method: Method) -> tuple[Path, Path | None]:
    """Where a row's model is or will be, and a finished one of the same training that another density
    was learnt on; None without.
    """
    name, density, learns = trained_apart(method)
    of = config_hash([method.learns_from, learns, row.seed, row.learn.known(learnt(method.model))])
    models = shared.out / "models"
    if not density:
        return models / f"{name}-{of}", None
    others = sorted(models.glob(f"{name}-{of}-*/detector.toml"))
    return models / f"{name}-{of}-{config_hash(density)}", others[0].parent if others else None


def _measure(shared: _Run, detector: Detector, cohort: Cohort, name: str, *, picture: Path) -> dict[str, Any]:
    """Detect in a cohort and evaluate, as a user would; keep a picture of one case."""
    from aberra.benchmark.strips import taken, typical
    from aberra.workflows.detect import detect_cohort
    from aberra.workflows.evaluate import evaluate

    maps = shared.out / "maps" / name
    with peak_memory() as peak:
        found = detect_cohort(
            detector, cohort, out=maps, protocol=shared.suite.protocol, report=False, progress=shared.progress
        )
    if found.failed:
        case, reason = next(iter(found.failed.items()))
        raise AberraError(f"{len(found.failed)} case(s) failed, the first: {case}: {reason}")
    content = evaluate(maps, cohort, n_boot=shared.suite.bootstrap, curves=False, progress=False)
    taken(maps, cohort, typical(content["per_case"])).save(picture)
    seconds = [read_json(maps / case.case / "result.json")["seconds"] for case in cohort]
    if not shared.keep_maps:
        discard(maps)
    return {
        "content": content,
        "seconds_per_case": sum(seconds) / len(seconds),
        "peak_mb": peak.mb,
        "data_hash": cohort.data_hash(),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
