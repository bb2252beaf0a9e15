"""An evaluation as rows: CSV, Markdown and on the screen."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from aberra.console import screen, styled

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("level", "metric", "protocol", "value", "low", "high")
SHOWN = (0.005, 0.01, 0.05)
"""Rejected shares that are printed; ``metrics.json`` has more."""

LISTED = 5
"""Cases whose warnings are printed; ``metrics.json`` has all."""


def _row(
    level: str, metric: str, value: float | None, protocol: str | None = "", interval: Any = None
) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {
        "level": level,
        "metric": metric,
        "protocol": protocol or "",
        "value": value,
        "low": low,
        "high": high,
    }


def rows_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Flatten into one row a metric; what is not defined for these cases is left out."""
    rows = [
        *_voxel_rows(content["voxel"]),
        *_mask_rows(content["mask"]),
        _row("mask", f"Dice of two raters (n = {content['raters']['cases']})", content["raters"]["mean"]),
        *_kind_rows(content["kinds"]),
        *_reliability_rows(content["reliability"], content["uncertainty"], content["mask"]["protocol"]),
        *_lesion_rows(content["lesion"]),
        *_slice_rows(content["slice"]),
        *_case_rows(content["case"]),
    ]
    return [row for row in rows if row["value"] is not None]


def _voxel_rows(voxel: dict[str, Any]) -> list[dict[str, Any]]:
    pooled, spread = voxel["pooled"], voxel["pooled"]["intervals"]
    residuals = voxel["residuals"]
    normal = _row("voxel", "mean score, normal", residuals["l1_normal"])
    if not pooled["positives"]:
        return [normal]  # a Dice or precision of 0 would say that something was missed
    oracle = f"oracle, t = {pooled['best_threshold'] or 0:.4g}"
    rows = [
        _row("voxel", "AP", pooled["ap"], interval=spread.get("ap")),
        _row("voxel", "AP per case, mean", voxel["per_case"]["mean"]),
        _row("voxel", "AP of prevalence", pooled["prevalence"]),
        _row("voxel", "AUROC", pooled["auroc"], interval=spread.get("auroc")),
        _row("voxel", "⌈Dice⌉", pooled["best_dice"], oracle, spread.get("best_dice")),
    ]
    for protocol, values in voxel["at_threshold"].items():
        rows += [
            _row("voxel", "Dice", values["dice"], protocol),
            _row("voxel", "sensitivity", values["sensitivity"], protocol),
            _row("voxel", "precision", values["precision"], protocol),
            _row("voxel", "Dice per case, mean", values["dice_mean"], protocol),
        ]
    return [
        *rows,
        normal,
        _row("voxel", "mean score, anomalous", residuals["l1_anomalous"]),
        _row("voxel", "χ²", residuals["chi2"]),
    ]


def _mask_rows(mask: dict[str, Any]) -> list[dict[str, Any]]:
    protocol, cases, empty = mask["protocol"], mask["cases"], mask["empty"]
    return [
        _row("mask", f"Dice (n = {cases})", mask["dice"], protocol),
        _row("mask", f"Jaccard (n = {cases})", mask["jaccard"], protocol),
        _row("mask", f"HD95, mm (n = {cases - empty})", mask["hd95_mm"], protocol),
        _row("mask", f"empty masks of {cases} cases with lesions", empty if cases else None, protocol),
    ]


def _kind_rows(kinds: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _row("voxel", f"{label}, kind {value}", found[name], found["protocol"])
        for value, found in kinds.items()
        for name, label in (("dice", "Dice"), ("dice_mean", "Dice per case, mean"))
    ]


def _reliability_rows(
    reliability: dict[str, Any], uncertainty: dict[str, Any], protocol: str
) -> list[dict[str, Any]]:
    rows = [
        _row("voxel", label, reliability.get(name), interval=reliability.get(f"{name}_interval"))
        for name, label in (("ece", "ECE"), ("brier", "Brier score"))
    ]
    rows += [
        _row("voxel", label, uncertainty.get(name), interval=uncertainty.get(f"{name}_interval"))
        for name, label in (
            ("correlation", "correlation of uncertainty and error"),
            ("ause", "AUSE"),
            ("ause_random", "AUSE of a random uncertainty"),
        )
    ]
    return rows + [
        _row("voxel", f"Dice without the {row['rejected']:.1%} most uncertain voxels", row["dice"], protocol)
        for row in uncertainty.get("dice_rejected", [])
        if row["rejected"] in SHOWN
    ]


def _lesion_rows(lesion: dict[str, Any]) -> list[dict[str, Any]]:
    protocol = lesion["protocol"]
    rows = [
        _row("lesion", "recall (any overlap)", lesion["recall_overlap"], protocol),
        _row("lesion", "recall (IoU ≥ 0.1)", lesion["recall_iou"], protocol),
        _row("lesion", "false positives per scan", lesion["false_positives_per_scan"], protocol),
    ]
    for volume in lesion["by_volume"]:
        top = "∞" if volume["to_mm3"] is None else f"{volume['to_mm3']:g}"
        metric = f"recall, {volume['from_mm3']:g}–{top} mm³ (n = {volume['lesions']})"
        rows.append(_row("lesion", metric, volume["recall_overlap"], protocol))
    return rows + [
        _row("lesion", f"FROC recall at {rate} FP/scan", value, "ladder")
        for rate, value in lesion["froc"].items()
    ]


def _slice_rows(slices: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _row("slice", "AUROC", slices["auroc"], interval=slices.get("auroc_interval")),
        _row("slice", "AUROC, matched by position", slices["position_matched_auroc"]),
        _row("slice", "AP", slices["ap"], interval=slices.get("ap_interval")),
    ]


def _case_rows(case: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        _row("case", label, case[name], interval=case.get(f"{name}_interval"))
        for name, label in (("auroc", "AUROC"), ("ap", "AP"), ("fpr_at_95_tpr", "FPR at 95 % TPR"))
    ]
    return rows + [
        _row(
            "case",
            f"realised FPR (n = {row['n']})",
            row["realised"],
            f"conformal p ≤ {row['nominal']:g}",
            row["interval"],
        )
        for row in case["false_positive_rate"]
    ]


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Comma-separated, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    spread = "" if row["low"] is None else f"{row['low']:.3f} – {row['high']:.3f}"
    return row["level"], row["metric"], row["protocol"], f"{row['value']:.4f}", spread


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = ["| level | metric | threshold protocol | value | 95 % interval |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(row)) + " |" for row in rows)]) + "\n"


def show(content: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the table, how the false-positive rates held and where the files are."""
    from rich.table import Table

    console = screen(wrap=True)
    title = f"{content['method']} · {content['cases']} cases, {content['patients']} patients"
    table = Table("level", "metric", "threshold protocol", "value", "95 % interval", title=title)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    for row in content["case"]["false_positive_rate"]:
        verdict = "inside" if row["within"] else ("below" if row["not_above"] else "ABOVE")
        console.print(
            f"healthy cases at nominal {row['nominal']:.0%}: {row['flagged']} of {row['n']} flagged, realised {row['realised']:.1%}, "
            f"{verdict} the binomial range {row['expected'][0]:.1%} – {row['expected'][1]:.1%}"
        )
    for row in content.get("against", []):
        console.print(
            f"AP per patient, {row['method']} − this: {row['difference']:+.3f} (n = {row['n']}, p = {row['p']:.3f}, Holm {row['p_holm']:.3f})"
        )
    for case, notes in [*content["warnings"].items()][:LISTED]:
        console.print(f"warning: {case}: {'; '.join(notes)}")
    if len(content["warnings"]) > LISTED:
        console.print(f"warning: {len(content['warnings']) - LISTED} more cases, see metrics.json")
    for case, reason in content["failed"].items():
        console.print(styled(("failed", "red"), f" {case}: {reason}"), soft_wrap=True)
    console.print(f"region: {content['region']}")
    console.print(f"tables and figures: {folder}", soft_wrap=True)
