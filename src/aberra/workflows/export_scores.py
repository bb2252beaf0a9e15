"""Case scores as the tables that other anomaly detectors write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from aberra.cohort import Cohort
from aberra.detector.calibration import Calibration, conformal_limit
from aberra.errors import CalibrationError, InputError, OutputError, expect_known, shortlist
from aberra.failures import refuse
from aberra.files import csv_text, read_json, write_text
from aberra.options import ShareAboveZero, configured
from aberra.output import expect_results
from aberra.workflows.scores import finished_cases

if TYPE_CHECKING:
    from collections.abc import Mapping

Style = Literal["anomalib", "imgad"]

COLUMNS: dict[Style, tuple[str, ...]] = {
    "anomalib": ("image_path", "gt_label", "pred_label", "pred_score"),
    "imgad": ("source", "score", "is_anomaly", "threshold", "normal_percentile"),
}
"""Of anomalib 2 the fields of an image (``anomalib.data.ImageItem``), of imgad 0.6 what
``imgad predict --out`` writes, with the truth behind it where there is one."""


@configured("export-scores")
def export_scores(
    results: Path,
    style: Style,
    *,
    out: Path,
    manifest: Path | None = None,
    split: str | None = None,
    level: ShareAboveZero = 0.05,
) -> list[str]:
    """Write a row a case, in the order of their names, as another tool would.

    A case is called anomalous where its score is above the value that a healthy case goes beyond
    with a probability of at most ``level`` (:func:`aberra.detector.calibration.conformal_limit`). A
    case of several channels has the path of the first.

    Args:
        results: folder that ``detect`` or ``import-predictions`` wrote.
        style: whose columns (:data:`COLUMNS`).
        out: the CSV file, which is not there yet.
        manifest: has the truth: ``label``, else whether there is a ``lesion`` mask.
        split: only this split of the manifest.
        level: share of healthy cases that may be called anomalous.

    Returns:
        What the reader of the table must know.

    Raises:
        InputError: no finished case, one that is damaged, or one that the manifest does not have.
        OutputError: ``results`` are no results, or the file is there already.
    """
    expect_known("style", [style], get_args(Style))
    names = finished_cases(results)
    expect_results(results, names)
    if out.exists():
        raise OutputError(f"{out}: is there already; choose another --out")
    truth = None if manifest is None else _truth(Cohort.read(manifest).select(split=split))
    if truth is not None and split:
        names = [name for name in names if name in truth]
    if truth is not None and (untold := [name for name in names if name not in truth]):
        raise InputError(f"{manifest}: does not have {len(untold)} case(s) of {results}: {shortlist(untold)}")
    if not names:
        raise InputError(f"{results}: no finished case; run `aberra detect` first")
    healthy, limit, notes = _healthy(results, level)
    rows, failed = [], dict[str, Exception]()
    for name in names:
        try:
            said = read_json(results / name / "result.json")
            rows.append(_row(said, healthy, limit, style) | _told(truth, name, style))
        except Exception as error:  # noqa: BLE001 - told below, with those of the other cases
            failed[name] = error
    refuse(failed, "exported")
    columns = [*COLUMNS[style], *(["label"] if style == "imgad" and truth is not None else [])]
    write_text(out, csv_text(columns, rows))
    return notes


def _truth(cohort: Cohort) -> dict[str, int]:
    """Case to 1 where it is diseased, as ``evaluate`` takes it."""
    return {case.case: case.label if case.label is not None else int(not case.healthy) for case in cohort}


def _healthy(results: Path, level: float) -> tuple[list[float], float | None, list[str]]:
    """Scores of the healthy cases behind the results, the limit at a level, and what must be said."""
    scores = Calibration.from_json(read_json(results / "calibration.json")).scores
    try:
        return scores, conformal_limit(scores, level), []
    except CalibrationError as error:
        return scores, None, [f"no case is called anomalous or not: {error}"]


def _row(said: Mapping[str, Any], healthy: list[float], limit: float | None, style: Style) -> dict[str, Any]:
    """A case's row, without its truth."""
    score, path = float(said["score"]), next(iter(said["paths"].values()), said["case"])
    anomalous = None if limit is None else score > limit
    if style == "anomalib":
        called = "" if anomalous is None else int(anomalous)
        return {"image_path": path, "gt_label": "", "pred_label": called, "pred_score": score}
    below = sum(value < score for value in healthy) / len(healthy) if healthy else ""
    return {
        "source": path,
        "score": score,
        "is_anomaly": "" if anomalous is None else anomalous,
        "threshold": "" if limit is None else limit,
        "normal_percentile": below,
    }


def _told(truth: Mapping[str, int] | None, case: str, style: Style) -> dict[str, int]:
    return {} if truth is None else {"gt_label" if style == "anomalib" else "label": truth[case]}
