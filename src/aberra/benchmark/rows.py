"""A finished cell as rows of ``results.csv``, and all cells of a folder together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.files import config_hash, csv_text, read_json
from aberra.metrics.lesion import BINS_MM3, FP_RATES
from aberra.metrics.tables import SHOWN, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS = (
    "suite", "task", "cohort", "method", "family", "baseline", "unit", "label", "seed", "subjects", "sweep", "metric", "protocol", "value", "low", "high",
    "cases", "prevalence", "parameters", "steps", "late_gain", "training_seconds", "seconds_per_case", "peak_mb", "commit",
    "data_hash", "split_hash", "machine", "date",
)  # fmt: skip

COUNTS = re.compile(r" \(n = \d+\)$| of \d+ cases with lesions$")
"""Numbers of cases in the evaluation's names, which would make a name of their own for every
cohort."""

NAMES = {
    "voxel": {"mean score, normal": "l1-RE_N", "mean score, anomalous": "l1-RE_A", "χ²": "chi2"},
    "lesion": {
        "recall (any overlap)": "lesion recall",
        "false positives per scan": "false positives per scan",
    },
}
"""Names in results.csv where they differ from the evaluation's; voxel metrics go without their
level."""

HIGHER = (
    "AP", "AP per case, mean", "AUROC", "⌈Dice⌉", "Dice", "Dice per patient, mean", "sensitivity", "precision", "Dice per case, mean",
    "mask Dice", "mask Jaccard",
    "lesion recall", "lesion recall (IoU ≥ 0.1)",
    *(f"lesion recall, {low:g}–{str(f'{top:g}').replace('inf', '∞')} mm³" for low, top in pairwise(BINS_MM3)),
    *(f"lesion FROC recall at {rate:g} FP/scan" for rate in FP_RATES),
    "slice AUROC", "slice AUROC, matched by position", "slice AP", "slice AUROC, clinical", "slice AP, clinical",
    "slice AUROC a: lesion / rest of scan", "slice AUROC b: lesion / healthy",
    "slice AUROC of scans by their highest slice", "slice AUROC of scans by their mean slice", "case AUROC", "case AP", "case accuracy", "case kappa", "change SSIM",
    "correlation of uncertainty and error",
    *(f"Dice without the {share:.1%} most uncertain voxels" for share in SHOWN),
)  # fmt: skip
"""Metrics in results.csv of which more is better."""
LOWER = (
    "mask HD95, mm", "mask volume difference", "mask empty masks", "ECE", "Brier score", "AUSE", "false positives per scan", "case FPR at 95 % TPR", "case ECE", "case Brier score", "change MSE", "change MSE, healthy",
)  # fmt: skip
"""Metrics of which less is better."""
OTHER = (
    "AP of prevalence", "slice AP of prevalence, clinical", "slice AUROC c: rest of scan / healthy",
    "AUSE of a random uncertainty", "Dice per patient, std", "l1-RE_N", "l1-RE_A", "chi2", "healthy FPR",
)  # fmt: skip
"""Metrics that tell of the data or of a method's ways."""
METRICS = HIGHER + LOWER + OTHER
SHOWN_IN_TABLES = ("AP", "⌈Dice⌉", "Dice", "AUROC", "slice AUROC", "case AUROC")
"""Metrics that are columns of the tables where the suite does not say."""
PROTOCOLS = ("", "oracle", "ladder", "mask", "p ≤ 0.05")
"""Protocols of the values shown, beside the suite's."""

UNDERTRAINED = 0.01
"""Share by which the best healthy validation loss may fall in the last fifth of a training that was
long enough."""

Key = tuple[str, str, str, int]
"""Task, cohort, label, seed."""


@dataclass
class Cells:
    """All finished cells.

    Attributes:
        rows: as in results.csv.
        replicates: bootstrap replicates of AP, paired between methods.
        histograms: residual histograms, ``edges``, ``normal`` and ``anomalous``.
        pictures: file of the cell's picture, where it has one.
        patients: task and cohort to the number of patients with lesions.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    replicates: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    histograms: dict[Key, dict[str, list[float]]] = field(default_factory=dict)
    pictures: dict[Key, Path] = field(default_factory=dict)
    patients: dict[tuple[str, str], int] = field(default_factory=dict)


CELL = " · "
"""Between method and score in the label of a grid's row, and before the settings of a sweep's."""

M0 = "intensity"
"""The plain threshold."""

CHANCE = "random"
"""The map of chance, through the same post-processing."""


def is_plain(row: Mapping[str, Any]) -> bool:
    """Whether a row is a method as it stands: of all subjects, and no point of a sweep, which has a
    figure of its own.
    """
    return bool(row["subjects"] == 1 and not row.get("sweep"))


def short(value: Any) -> str:
    """A setting as labels and results.csv write it."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def settings_of(row: Mapping[str, Any]) -> dict[str, float | str]:
    """The settings that a row of a sweep has, in the sweep's order; empty where it is none."""
    pairs = (each.partition("=") for each in (row.get("sweep") or "").split(";") if each)
    return {key: _number(value) for key, _, value in pairs}


def of_sweep(row: Mapping[str, Any]) -> str:
    """The label that the rows of a sweep share."""
    return str(row["label"]).rpartition(CELL)[0]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def means(
    rows: Sequence[Mapping[str, Any]], metric: str, protocols: Sequence[str] | None = None
) -> dict[str, float]:
    """Mean of a metric over seeds by label, of some threshold protocols or of all."""
    found: dict[str, list[float]] = {}
    for row in rows:
        fits = row["metric"] == metric and (protocols is None or row["protocol"] in protocols)
        if fits and row["value"] is not None:
            found.setdefault(row["label"], []).append(float(row["value"]))
    return {label: float(np.mean(values)) for label, values in found.items()}


def file_name(label: str) -> str:
    """A label as part of a file name; labels that differ only in what is replaced stay apart."""
    kept = "".join(each if each.isalnum() or each in "-_." else "-" for each in label)
    return kept if kept == label else f"{kept}-{config_hash(label)[:4]}"


def bar(rows: Sequence[Mapping[str, Any]]) -> tuple[str, float] | None:
    """Label and AP of the plain threshold's best polarity on one cohort, the bar to beat; None
    where no row is one.
    """
    ap = means([row for row in rows if row["method"] == M0 and is_plain(row)], "AP")
    return max(ap.items(), key=lambda item: item[1]) if ap else None


def undertrained(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Labels of rows whose validation loss still fell when their training (that of any seed) ended:
    lower bounds, which no ranking counts.
    """
    return {row["label"] for row in rows if (row.get("late_gain") or 0) > UNDERTRAINED}


def rows_of_cell(cell: Mapping[str, Any], common: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """Turn an evaluation into what is kept of it: rows, replicates, histogram and the cases' own
    numbers.

    Args:
        cell: what the runner measured.
        common: what all rows of the cell say.
        protocol: threshold protocol whose Dice per patient is kept.
    """
    content = cell["content"]
    pooled = content["voxel"]["pooled"]
    fixed = dict(common) | {
        "cases": content["cases"],
        "prevalence": pooled["prevalence"],
        "seconds_per_case": round(cell["seconds_per_case"], 3),
        "peak_mb": max(cell["peak_mb"], common.get("fit_peak_mb", 0.0)),
        **{key: cell[key] for key in ("commit", "data_hash", "machine", "date")},
    }
    kept = {key: value for key, value in fixed.items() if key in COLUMNS}
    rows = [kept | row for row in _metrics(content, protocol)]
    return {
        "rows": rows,
        "replicates": pooled.get("replicates", {}).get("ap", []),
        "histogram": content["voxel"]["residuals"]["histogram"],
        "per_case": content["per_case"],
    }


def _metrics(content: dict[str, Any], protocol: str) -> list[dict[str, Any]]:
    """All scalar metrics of an evaluation."""
    found = []
    for row in rows_of(content):
        level, metric = row.pop("level"), COUNTS.sub("", row["metric"])
        if metric == "realised FPR" or (level == "voxel" and not content["voxel"]["pooled"]["positives"]):
            continue  # the first is told below, with its interval; without lesions no voxel metric but the error means anything
        named = NAMES.get(level, {}).get(metric, metric if level == "voxel" else f"{level} {metric}")
        found.append(
            row | {"metric": named, "protocol": "oracle" if "oracle" in row["protocol"] else row["protocol"]}
        )
    if not content["voxel"]["pooled"]["positives"]:
        found.append(
            {"metric": "l1-RE_N", "protocol": "", "value": content["voxel"]["residuals"]["l1_normal"]}
        )
    at = content["voxel"]["at_threshold"].get(protocol, {})
    found += [
        {"metric": f"Dice per patient, {name}", "protocol": protocol, "value": at[f"dice_patient_{name}"]}
        for name in ("mean", "std")
        if at.get(f"dice_patient_{name}") is not None
    ]
    found += [
        {
            "metric": "healthy FPR", "protocol": f"p ≤ {rate['nominal']:g}", "value": rate["realised"],
            "low": rate["interval"][0], "high": rate["interval"][1],
        }
        for rate in content["case"]["false_positive_rate"]
    ]  # fmt: skip
    return found


def read_cells(out: Path) -> Cells:
    """Read every finished cell below ``out/cells``, in order of their names."""
    cells = Cells()
    for path in sorted(out.glob("cells/*/*/*.json")):
        cell = read_json(path)
        cells.rows += cell["rows"]
        first = cell["rows"][0]
        key = (first["task"], first["cohort"], first["label"], first["seed"])
        if cell["replicates"]:
            cells.replicates[key] = np.array(
                [np.nan if value is None else value for value in cell["replicates"]], dtype=float
            )
        cells.histograms[key] = cell["histogram"]
        if path.with_suffix(".npz").is_file():
            cells.pictures[key] = path.with_suffix(".npz")
        sick = {row["patient"] for row in cell["per_case"] if row.get("ap") is not None}
        cells.patients[key[:2]] = len(sick)
    return cells


def results_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """Rows as CSV, numbers with six digits."""
    short = (
        {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    )
    return csv_text(columns, short)
