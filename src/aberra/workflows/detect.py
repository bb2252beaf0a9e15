"""Detect in a whole cohort: case by case, resumable, with scores.csv and a report."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.console import bars
from aberra.dicom_out import FOLDER as DICOM
from aberra.dicom_out import is_dicom_series, write_objects
from aberra.dicom_out.source import highdicom
from aberra.errors import AberraError, ConfigError, OutputError, shortlist
from aberra.failures import told
from aberra.files import (
    config_hash,
    discard,
    locked,
    read_json,
    read_mark,
    recorded,
    refuse_foreign,
    write_json,
    writing,
)
from aberra.grades import FOLDER as GRADES_FOLDER
from aberra.jobs import HERE, Job, spread
from aberra.output import check_held, check_names, claim
from aberra.result import LEARNT_FROM, Result
from aberra.workflows.scores import finished_cases, write_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aberra.cohort import Case
    from aberra.detector import Detector
    from aberra.jobs import Engine
    from aberra.workflows.gate import Gate

REFINED = "refined"
"""Folder for what a second detector says of the unusual cases: :mod:`aberra.workflows.refine`."""

BIDS = "bids"
"""Folder for the derivative of a BIDS dataset: :mod:`aberra.workflows.derivatives`."""

OBJECTS, FINDINGS = "objects", "findings"
"""Folders for the objects of each case, and for the report of what readers say of them."""

MADE = ("scores.csv", "report.html", "objects.csv", "objects.json", "matches.csv", "lesions.csv")
"""Files that are made of the cases' results."""

FILES = ("evaluation", "logs", "calibration.json", REFINED, BIDS, OBJECTS, GRADES_FOLDER, FINDINGS, *MADE)
"""What lies beside the cases' folders; no case may be called so."""

OTHER = "results of another model, calibration or threshold are there; choose another --out, or --overwrite"

Dicom = Literal["none", "objects", "overlay"]


@dataclass
class Summary:
    """What a run did.

    Attributes:
        done: cases scored now.
        kept: cases found finished from before.
        failed: case to reason.
        with_objects: cases that have DICOM objects.
        without_objects: DICOM series of which none could be made, to the reason; their scores stand.
    """

    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    with_objects: int = 0
    without_objects: dict[str, str] = field(default_factory=dict)

    def add(self, other: Summary) -> None:
        """Add what another run did with other cases."""
        for each in fields(self):
            own, theirs = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, own | theirs if isinstance(own, dict) else own + theirs)


def detect_cohort(
    detector: Detector,
    cohort: Cohort,
    *,
    out: Path,
    channels: Sequence[str] | None = None,
    protocol: str | None = None,
    overwrite: bool = False,
    gate: Gate | None = None,
    dicom: Dicom = "none",
    report: bool = True,
    progress: bool = False,
    watch: Callable[[int, int], None] | None = None,
    on: Engine = HERE,
) -> Summary:
    """Write ``out/<case>/`` for every case, ``out/scores.csv``, ``out/calibration.json`` and
    ``out/report.html``.

    A case's folder appears whole or not at all. Cases that are finished for the same input are
    kept, so that an interrupted run is completed by running it again. A case that fails does not
    stop the others; the traceback of what nobody foresaw goes to ``out/logs/<case>.log``. All
    results in a folder are of one model, calibration and threshold.

    Args:
        detector: calibrated.
        cohort: the cases.
        out: folder of the results.
        channels: manifest columns to read, in the model's order.
        protocol: threshold protocol of the masks.
        overwrite: replace results of another input, or, where all its cases are given, of another
            model, calibration or threshold.
        gate: a second detector that says of each case whether the result can be relied on.
        dicom: what to add to cases that are DICOM series, these of earlier runs, too, as
            ``out/<case>/dicom/`` (:mod:`aberra.dicom_out`): ``objects``, or ``overlay``, which is
            these and colour pictures.
        report: write the HTML report.
        progress: show a progress bar.
        watch: is told of windows done and windows in all of the case under way.
        on: who does it (:func:`aberra.jobs.engine`); other processes load the detectors from their
            folders, and ``watch`` is not told.

    Raises:
        OutputError: ``out`` holds other results and ``overwrite`` is off (or some of its cases are
            not given), holds something else, or a scan; or a case cannot be called so.
        CalibrationError: the detector is not calibrated.
        ConfigError: unknown protocol, or highdicom is not installed.
        JobError: a process that ``on`` started could not go on.
    """
    from aberra.errors import CalibrationError

    if dicom != "none":
        highdicom()
    if detector.calibration is None:
        raise CalibrationError(
            f"{detector.folder}: not calibrated; run `aberra calibrate {detector.folder} MANIFEST` with healthy cases"
        )
    chosen, _ = detector.calibration.threshold(protocol)
    check_names((case.case for case in cohort), FILES)
    keep_out(out, inputs_of(cohort))
    cases = _Cases(detector, out, channels, chosen, gate, dicom)
    if on is HERE:
        summary = cases.done(cohort, overwrite=overwrite, progress=progress, watch=watch)
    else:
        if overwrite:  # which no part may alone
            cases.begin(cohort, Summary(), overwrite=True)
        jobs = [
            Job(f"part {part}", cases.order(cohort.part(part))) for part in spread(len(cohort), on.at_once)
        ]
        summary = Summary()
        for found in on.do(_part, jobs, progress=progress):
            summary.add(found)
    try:
        _finish(out, cohort, summary, report=report)
    except OutputError as error:  # the disk may be full: what is known is told all the same
        told_of = [f"failed {case}: {reason}" for case, reason in summary.failed.items()]
        raise OutputError("\n".join([str(error), *told_of])) from error
    return summary


@dataclass(frozen=True)
class _Cases:
    """How each case of a folder of results is done."""

    detector: Detector
    out: Path
    channels: Sequence[str] | None
    protocol: str
    gate: Gate | None
    dicom: Dicom

    @property
    def identity(self) -> str:
        """Of all results in the folder."""
        assert self.detector.calibration is not None  # noqa: S101 - refused before
        calibration = self.detector.calibration.to_json()
        return config_hash(
            [self.detector.identity["fingerprint"], calibration, self.protocol, *_of_gate(self.gate)]
        )

    def order(self, cohort: Cohort) -> dict[str, Any]:
        """What another process needs to do the same with some cases: :func:`_part`."""
        gate = self.gate and (_folder(self.gate.detector), self.gate.level)
        return {
            "model": _folder(self.detector), "batch_size": self.detector.batch_size, "device": self.detector.device, "cohort": cohort, "out": self.out,
            "channels": self.channels, "protocol": self.protocol, "gate": gate, "dicom": self.dicom,
        }  # fmt: skip

    def begin(self, cohort: Cohort, summary: Summary, *, overwrite: bool) -> dict[str, str]:
        """Take the folder; returns the keys of the cases, ``summary`` gets those that have none."""
        keys: dict[str, str] = {}
        for case in cohort:
            try:
                keys[case.case] = _key(self.detector, case, self.protocol, self.channels, self.gate)
            except Exception as error:  # noqa: BLE001 - one case never ends a cohort
                summary.failed[case.case] = told(error)
        about = {"model": self.detector.identity, "protocol": self.protocol}
        _claim(self.out, self.identity, cohort, keys, about=about, overwrite=overwrite)
        assert self.detector.calibration is not None  # noqa: S101 - refused before
        write_json(self.out / "calibration.json", self.detector.calibration.to_json())
        return keys

    def done(
        self,
        cohort: Cohort,
        *,
        overwrite: bool = False,
        progress: bool = False,
        watch: Callable[[int, int], None] | None = None,
    ) -> Summary:
        """Do what is not finished, case by case."""
        summary, identity = Summary(), self.identity
        keys = self.begin(cohort, summary, overwrite=overwrite)
        with _watched(self.detector, len(cohort), progress=progress, watch=watch) as begin:
            for case in cohort:
                begin(case.case)
                if case.case in summary.failed:
                    continue
                key = keys[case.case]
                try:
                    if _finished(self.out / case.case) == key:
                        summary.kept += 1
                    else:
                        self._detect(case, key, identity)
                        summary.done += 1
                    _add_objects(self.out, case, summary, self.dicom)
                except Exception as error:  # noqa: BLE001 - one case never ends a cohort
                    summary.failed[case.case] = told(error, self.out, case.case)
        return summary

    def _learnt(self, content: str) -> bool:
        """Whether the model has learnt from a scan of that content."""
        known = self.detector.facts.get("learnt", ())
        return self.detector.method.learns_from != "nothing" and content in known

    def _detect(self, case: Case, key: str, identity: str) -> None:
        """Detect in one case and save it."""
        folder = self.out / case.case
        refuse_foreign(folder)
        volume = self.detector.read(case, self.channels)
        by = self.detector.calibration.group_by if self.detector.calibration else ""
        result = self.detector.detect(
            volume,
            case=case.case,
            paths={name: str(case.channels[name]) for name in volume.channels},
            group=case.group(by) if by else None,
            protocol=self.protocol,
        )
        if self.gate is not None:
            result = self.gate.asked(result, case, self.channels)
        content = case.content_hash(volume.channels)
        if self._learnt(content):
            result = replace(result, warnings=[*result.warnings, LEARNT_FROM])
        check_held(self.out, identity)
        discard(folder / DICOM)  # of an older result
        # another process may have been faster at the same case
        replace(result, input=result.input | {"sha256": content, "key": key}).save(
            folder, unless=lambda: _finished(folder) == key
        )


def _folder(detector: Detector) -> Path:
    """Where another process finds a detector."""
    if detector.folder is None:
        raise ConfigError(
            f"{detector.method.name}: not saved; other processes need its folder, as `detector.save(folder)` gives it"
        )
    return detector.folder


def _part(
    *,
    model: Path,
    device: str,
    batch_size: int | None,
    cohort: Cohort,
    out: Path,
    channels: Sequence[str] | None,
    protocol: str,
    gate: tuple[Path, float] | None,
    dicom: Dicom,
) -> Summary:
    """Do a part of the cases, in a process of its own."""
    from aberra.detector import Detector
    from aberra.workflows.gate import Gate

    detector = Detector.load(model, device=device, batch_size=batch_size)
    second = Gate(detector=Detector.load(gate[0], device=device), level=gate[1]) if gate else None
    return _Cases(detector, out, channels, protocol, second, dicom).done(cohort)


def _claim(
    out: Path, identity: str, cohort: Cohort, keys: dict[str, str], *, about: dict[str, Any], overwrite: bool
) -> None:
    """Take the folder for these results; with ``overwrite``, results of another model or input
    become unfinished.
    """
    given = {case.case for case in cohort}
    mark = read_mark(out)
    others = mark is not None and mark["kind"] == "results" and mark.get("identity") != identity
    there = {name: _finished(out / name) for name in (finished_cases(out) if others else keys)}
    stale = [name for name, key in there.items() if key is not None and key != keys.get(name)]
    if others and overwrite and (left := [name for name in stale if name not in given]):
        raise OutputError(
            f"{out}: has results of another model, calibration or threshold for cases that are not given now ({shortlist(left)}); "
            "--overwrite redoes what is given, and never mixes: give all cases, or choose another --out"
        )
    claim(out, "results", identity=identity, other=OTHER, replace=overwrite, about=about)
    if stale and not overwrite:
        raise OutputError(
            f"{out}: results of another input are there ({shortlist(stale)}); choose another --out, or --overwrite"
        )
    with writing(out):
        for name in stale:
            (out / name / "result.json").unlink(missing_ok=True)
        if others:  # what was made of the old results goes with them
            for name in ("evaluation", OBJECTS, FINDINGS):
                discard(out / name)
            for name in recorded(out).intersection(MADE):
                (out / name).unlink(missing_ok=True)


def _finish(out: Path, cohort: Cohort, summary: Summary, *, report: bool) -> None:
    """Write what lies beside the cases."""
    with locked(out):  # of two processes the last one lists what both have done
        write_scores(out, cohort, summary.failed)
    if report:
        from aberra.report import write_report

        whole = cohort
        if str(cohort.source).endswith(".csv"):  # of which this may be a split
            with suppress(AberraError):  # it may have changed since
                whole = Cohort.read(cohort.source)
        write_report(out, manifest=whole)


@contextmanager
def _watched(
    detector: Detector, cases: int, *, progress: bool, watch: Callable[[int, int], None] | None
) -> Iterator[Callable[[str], None]]:
    """Show a bar for the cases and one for the slices or windows of the case under way; yields what
    a case begins with.
    """
    with bars(show=progress) as bar:
        whole, part = bar.add_task("detecting", total=cases), bar.add_task("", total=None)
        begun = 0

        def begin(name: str) -> None:
            nonlocal begun
            bar.update(whole, completed=begun)
            bar.reset(part, description=name, total=None)
            begun += 1

        def tell(done: int, total: int) -> None:
            bar.update(part, completed=done, total=total)
            if watch is not None:
                watch(done, total)

        with detector.runner.watched(tell):
            yield begin
        bar.update(whole, completed=cases)
        bar.remove_task(part)


def has_series(case: Case) -> bool:
    """Whether a scan of a case is a DICOM series."""
    return any(is_dicom_series(path) for path in case.channels.values())


def _add_objects(out: Path, case: Case, summary: Summary, dicom: Dicom) -> None:
    """Write a finished result as DICOM objects, too, if that is asked for and not done."""
    if dicom == "none" or not has_series(case):
        return
    folder = out / case.case
    try:
        write_objects(Result.load(folder), folder / DICOM, overlay=dicom == "overlay")
        summary.with_objects += 1
    except Exception as error:  # noqa: BLE001 - the result stands without them
        summary.without_objects[case.case] = told(error, out, f"{case.case}-dicom")


def _of_gate(gate: Gate | None) -> list[Any]:
    """What identities have of a gate; without one they are as ever."""
    return [gate.identity] if gate else []


def _key(
    detector: Detector, case: Case, protocol: str, channels: Sequence[str] | None, gate: Gate | None
) -> str:
    """Identify a result by everything it depends on."""
    content = detector.content_hash(case, channels)
    calibration = detector.calibration.to_json() if detector.calibration else None
    return config_hash([detector.identity["fingerprint"], content, protocol, calibration, *_of_gate(gate)])


def _finished(folder: Path) -> str | None:
    """Return the key of a finished result, None where there is none or it is not aberra's."""
    try:
        if "result.json" in recorded(folder):
            return str(read_json(folder / "result.json")["input"].get("key", ""))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return None
