"""Detect in a whole cohort: case by case, resumable, with scores.csv and a report."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aberra.errors import AberraError, OutputError
from aberra.files import config_hash, read_json, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aberra.cohort import Case, Cohort
    from aberra.detector import Detector

COLUMNS = ("case", "path", "score", "p", "n_components", "largest_mm3", "seconds", "warnings")


@dataclass
class Summary:
    """What a run did.

    Attributes:
        done: cases scored now.
        kept: cases found finished from before.
        failed: case to reason.
    """

    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def detect_cohort(
    detector: Detector,
    cohort: Cohort,
    *,
    out: Path,
    channels: Sequence[str] | None = None,
    protocol: str | None = None,
    overwrite: bool = False,
    report: bool = True,
    progress: bool = False,
) -> Summary:
    """Write ``out/<case>/`` for every case, ``out/scores.csv``, ``out/calibration.json`` and ``out/report.html``.

    A case's folder appears whole or not at all. Cases that are finished for the same model, input and threshold are
    kept, so that an interrupted run is completed by running it again. A case that fails does not stop the others.

    Args:
        detector: calibrated.
        cohort: the cases.
        out: folder of the results.
        channels: manifest columns to read, in the model's order.
        protocol: threshold protocol of the masks.
        overwrite: replace results of another model, input or threshold.
        report: write the HTML report.
        progress: show a progress bar.

    Raises:
        OutputError: ``out`` holds other results and ``overwrite`` is off.
        CalibrationError: the detector is not calibrated.
        ConfigError: unknown protocol.
    """
    from aberra.errors import CalibrationError

    if detector.calibration is None:
        raise CalibrationError(
            f"{detector.folder}: not calibrated; run `aberra calibrate {detector.folder} MANIFEST` with healthy cases"
        )
    chosen, _ = detector.calibration.threshold(protocol)
    keys = {case.case: _key(detector, case, chosen, channels) for case in cohort}
    finished = {case.case: _finished(out / case.case) for case in cohort}
    foreign = [case for case, key in finished.items() if key is not None and key != keys[case]]
    if foreign and not overwrite:
        raise OutputError(
            f"{out}: results of another model, input or threshold are there ({', '.join(foreign[:5])}"
            f"{' ...' if len(foreign) > 5 else ''}); choose another --out, or --overwrite"
        )
    summary = Summary()
    with _watched(detector, len(cohort), progress=progress) as begin:
        for case in cohort:
            begin(case.case)
            if finished[case.case] == keys[case.case]:
                summary.kept += 1
                continue
            try:
                _detect_case(detector, case, out, channels=channels, protocol=chosen, key=keys[case.case])
                summary.done += 1
            except AberraError as error:
                summary.failed[case.case] = str(error)
    write_json(out / "calibration.json", detector.calibration.to_json())
    write_scores(out, cohort, summary.failed)
    if report:
        from aberra.report import write_report

        write_report(out, manifest=cohort.source if str(cohort.source).endswith(".csv") else None)
    return summary


@contextmanager
def _watched(detector: Detector, cases: int, *, progress: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar for the cases and one for the slices or windows of the case under way; yields what a case begins with."""
    from rich.progress import Progress

    with Progress(disable=not progress) as bar:
        whole, part = bar.add_task("detecting", total=cases), bar.add_task("", total=None)
        begun = 0

        def begin(name: str) -> None:
            nonlocal begun
            bar.update(whole, completed=begun)
            bar.reset(part, description=name, total=None)
            begun += 1

        detector.runner.watch = lambda done, total: bar.update(part, completed=done, total=total)
        try:
            yield begin
            bar.update(whole, completed=cases)
            bar.remove_task(part)
        finally:
            detector.runner.watch = None


def _detect_case(
    detector: Detector, case: Case, out: Path, *, channels: Sequence[str] | None, protocol: str, key: str
) -> None:
    """Detect in one case and save it."""
    from aberra.calibrating import group_value

    volume = detector.read(case, channels)
    by = detector.calibration.group_by if detector.calibration else ""
    result = detector.detect(
        volume,
        case=case.case,
        paths={name: str(case.channels[name]) for name in volume.channels},
        group=group_value(case, by) if by else None,
        protocol=protocol,
    )
    content = case.content_hash(volume.channels)
    replace(result, input=result.input | {"sha256": content, "key": key}).save(out / case.case)


def _key(detector: Detector, case: Case, protocol: str, channels: Sequence[str] | None) -> str:
    """Identify a result by everything it depends on."""
    content = case.content_hash(channels or list(case.channels))
    calibration = detector.calibration.to_json() if detector.calibration else None
    return config_hash([detector.identity["fingerprint"], content, protocol, calibration])


def _finished(folder: Path) -> str | None:
    """Return the key of a finished result, None where there is none."""
    result = folder / "result.json"
    return str(read_json(result)["input"].get("key", "")) if result.is_file() else None


def write_scores(out: Path, cohort: Cohort, failed: dict[str, str]) -> None:
    """Write scores.csv for every finished case in ``out`` (of this and earlier runs), most anomalous first."""
    rows: list[dict[str, Any]] = []
    for path in sorted(out.glob("*/result.json")):
        saved = read_json(path)
        rows.append(
            {
                "case": saved["case"],
                "path": ";".join(saved["paths"].values()),
                "score": saved["score"],
                "p": "" if saved["p"] is None else saved["p"],
                "n_components": len(saved["components"]),
                "largest_mm3": saved["components"][0]["volume_mm3"] if saved["components"] else 0.0,
                "seconds": saved["seconds"],
                "warnings": "; ".join(saved["warnings"]),
            }
        )
    rows.sort(key=lambda row: (-row["score"], row["case"]))
    paths = {case.case: ";".join(str(path) for path in case.channels.values()) for case in cohort}
    scored = {row["case"] for row in rows}
    rows += [
        dict.fromkeys(COLUMNS, "") | {"case": case, "path": paths[case], "warnings": f"failed: {reason}"}
        for case, reason in failed.items()
        if case not in scored
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "scores.csv", text.getvalue())
