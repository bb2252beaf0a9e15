"""Detect in a whole cohort: case by case, resumable, with scores.csv and a report."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.console import bars
from aberra.dicom_out import FOLDER as DICOM
from aberra.dicom_out import is_dicom_series, write_objects
from aberra.dicom_out.source import highdicom
from aberra.errors import AberraError, OutputError, shortlist
from aberra.failures import told
from aberra.files import (
    config_hash,
    csv_text,
    discard,
    locked,
    read_json,
    read_mark,
    recorded,
    refuse_foreign,
    write_json,
    write_text,
    writing,
)
from aberra.grades import FOLDER as GRADES_FOLDER
from aberra.output import check_held, check_names, claim, kind_of
from aberra.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aberra.cohort import Case
    from aberra.detector import Detector
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

COLUMNS = ("case", "path", "score", "p", "n_components", "largest_mm3", "seconds", "warnings")


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

    Raises:
        OutputError: ``out`` holds other results and ``overwrite`` is off (or some of its cases are
            not given), holds something else, or a scan; or a case cannot be called so.
        CalibrationError: the detector is not calibrated.
        ConfigError: unknown protocol, or highdicom is not installed.
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
    summary = Summary()
    keys: dict[str, str] = {}
    for case in cohort:
        try:
            keys[case.case] = _key(detector, case, chosen, channels, gate)
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            summary.failed[case.case] = told(error)
    identity = config_hash(
        [detector.identity["fingerprint"], detector.calibration.to_json(), chosen, *_of_gate(gate)]
    )
    about = {"model": detector.identity, "protocol": chosen}
    _claim(out, identity, cohort, keys, about=about, overwrite=overwrite)
    write_json(out / "calibration.json", detector.calibration.to_json())
    with _watched(detector, len(cohort), progress=progress, watch=watch) as begin:
        for case in cohort:
            begin(case.case)
            if case.case in summary.failed:
                continue
            key = keys[case.case]
            try:
                if _finished(out / case.case) == key:
                    summary.kept += 1
                else:
                    _detect_case(
                        detector,
                        case,
                        out,
                        channels=channels,
                        protocol=chosen,
                        key=key,
                        identity=identity,
                        gate=gate,
                    )
                    summary.done += 1
                _add_objects(out, case, summary, dicom)
            except Exception as error:  # noqa: BLE001 - one case never ends a cohort
                summary.failed[case.case] = told(error, out, case.case)
    try:
        _finish(out, cohort, summary, report=report)
    except OutputError as error:  # the disk may be full: what is known is told all the same
        told_of = [f"failed {case}: {reason}" for case, reason in summary.failed.items()]
        raise OutputError("\n".join([str(error), *told_of])) from error
    return summary


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


def finished_cases(out: Path) -> list[str]:
    """Folders of finished cases in a folder of results."""
    return sorted(path.parent.name for path in out.glob("*/result.json") if kind_of(path.parent) == "case")


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


def _detect_case(
    detector: Detector,
    case: Case,
    out: Path,
    *,
    channels: Sequence[str] | None,
    protocol: str,
    key: str,
    identity: str,
    gate: Gate | None = None,
) -> None:
    """Detect in one case and save it."""
    folder = out / case.case
    refuse_foreign(folder)
    volume = detector.read(case, channels)
    by = detector.calibration.group_by if detector.calibration else ""
    result = detector.detect(
        volume,
        case=case.case,
        paths={name: str(case.channels[name]) for name in volume.channels},
        group=case.group(by) if by else None,
        protocol=protocol,
    )
    if gate is not None:
        result = gate.asked(result, case, channels)
    content = case.content_hash(volume.channels)
    check_held(out, identity)
    discard(folder / DICOM)  # of an older result
    # another process may have been faster at the same case
    replace(result, input=result.input | {"sha256": content, "key": key}).save(
        folder, unless=lambda: _finished(folder) == key
    )


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


def _row(folder: Path) -> dict[str, Any]:
    """A case's line of scores.csv."""
    try:
        saved = read_json(folder / "result.json")
        return {
            "case": saved["case"],
            "path": ";".join(saved["paths"].values()),
            "score": saved["score"],
            "p": "" if saved["p"] is None else saved["p"],
            "n_components": len(saved["components"]),
            "largest_mm3": saved["components"][0]["volume_mm3"] if saved["components"] else 0.0,
            "seconds": saved["seconds"],
            "warnings": "; ".join(saved["warnings"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "failed: result.json is damaged; delete the folder and detect again"
        return {"case": folder.name, "score": "", "warnings": reason}


def write_scores(out: Path, cohort: Cohort, failed: dict[str, str]) -> None:
    """Write scores.csv for every finished case in ``out`` (of this and earlier runs), most
    anomalous first.
    """
    rows: list[dict[str, Any]] = []
    for name in finished_cases(out):
        if name in failed:
            continue
        with suppress(FileNotFoundError):  # another process is at it
            rows.append(_row(out / name))
    rows.sort(key=lambda row: (row["score"] == "", -float(row["score"] or 0), row["case"]))
    paths = {case.case: ";".join(str(path) for path in case.channels.values()) for case in cohort}
    rows += [
        {"case": case, "path": paths[case], "warnings": f"failed: {reason}"}
        for case, reason in failed.items()
    ]
    write_text(out / "scores.csv", csv_text(COLUMNS, rows))
