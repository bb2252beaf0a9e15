"""An evaluation as rows: CSV, Markdown and on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.console import screen, styled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLUMNS = ("level", "metric", "protocol", "value", "low", "high")
SHOWN = (0.005, 0.01, 0.05)
"""Rejected shares that are printed; ``metrics.json`` has more."""

LISTED = 5
"""Cases whose warnings are printed; ``metrics.json`` has all."""

HEADLINES = frozenset({
    "AP", "AP per case, mean", "AP of prevalence", "⌈Dice⌉", "Dice per case, mean", "sensitivity", "precision",
    "recall (any overlap)", "false positives per scan", "FROC recall at 1 FP/scan", "AUROC",
})  # fmt: skip
"""What is printed, at the threshold that the masks were cut at; the files have every row."""


def _row(
    level: str, metric: str, value: float | None, protocol: str | None = "", interval: Any = None
) -> dict[str, Any]:
    low, high = interval or (None, None)
    return dict(zip(COLUMNS, (level, metric, protocol or "", value, low, high), strict=True))


def _rows(
    level: str, found: Mapping[str, Any], named: Mapping[str, str], protocol: str | None = ""
) -> list[dict[str, Any]]:
    """One row a figure of ``found``, as it is called in words, with its interval where it has one."""
    return [
        _row(level, metric, found.get(name), protocol, found.get(f"{name}_interval"))
        for name, metric in named.items()
    ]


def rows_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Flatten into one row a metric; what is not defined for these cases is left out."""
    raters, masks, uncertainty = content["raters"], content["mask"]["protocol"], content["uncertainty"]
    rows = [
        *_voxel_rows(content["voxel"]),
        *_mask_rows(content["mask"]),
        _row("mask", f"Dice of two raters (n = {raters['cases']})", raters["mean"]),
    ]
    change = content.get("change", {})
    named = {"change_mse": "MSE", "change_ssim": "SSIM", "identity_mse": "MSE, healthy"}
    rows += [_row("change", metric, change[name]["mean"]) for name, metric in named.items() if name in change]
    kinds = content["kinds"]
    for value, found in kinds.items() if len(kinds) > 1 else ():
        named = {"dice": f"Dice, kind {value}", "dice_mean": f"Dice per case, mean, kind {value}"}
        rows += _rows("voxel", found, named, found["protocol"])
    rows += _rows("voxel", content["reliability"], {"ece": "ECE", "brier": "Brier score"})
    named = {"correlation": "correlation of uncertainty and error", "ause": "AUSE"}
    rows += _rows("voxel", uncertainty, named | {"ause_random": "AUSE of a random uncertainty"})
    rows += [
        _row("voxel", f"Dice without the {row['rejected']:.1%} most uncertain voxels", row["dice"], masks)
        for row in uncertainty.get("dice_rejected", [])
        if row["rejected"] in SHOWN
    ]
    rows += _lesion_rows(content["lesion"])
    named = {"auroc": "AUROC", "position_matched_auroc": "AUROC, matched by position", "ap": "AP"}
    rows += _rows("slice", content["slice"], named) + _regime_rows(content["slice"], masks)
    named = {"auroc": "AUROC", "ap": "AP", "fpr_at_95_tpr": "FPR at 95 % TPR"}
    named |= {"accuracy": "accuracy", "kappa": "kappa", "ece": "ECE", "brier": "Brier score"}
    rows += _rows("case", content["case"], named)
    for row in content["case"]["false_positive_rate"]:
        metric, level = f"realised FPR (n = {row['n']})", f"conformal p ≤ {row['nominal']:g}"
        rows.append(_row("case", metric, row["realised"], level, row["interval"]))
    return [row for row in rows if row["value"] is not None]


def _voxel_rows(voxel: dict[str, Any]) -> list[dict[str, Any]]:
    pooled, spread = voxel["pooled"], voxel["pooled"]["intervals"]
    named = {"l1_normal": "mean score, normal", "l1_anomalous": "mean score, anomalous", "chi2": "χ²"}
    residuals = _rows("voxel", voxel["residuals"], named)
    if not pooled["positives"]:
        return residuals  # a Dice or precision of 0 would say that something was missed
    oracle = f"oracle, t = {pooled['best_threshold'] or 0:.4g}"
    rows = [
        _row("voxel", "AP", pooled["ap"], interval=spread.get("ap")),
        _row("voxel", "AP per case, mean", voxel["per_case"]["mean"]),
        _row("voxel", "AP of prevalence", pooled["prevalence"]),
        _row("voxel", "AUROC", pooled["auroc"], interval=spread.get("auroc")),
        _row("voxel", "⌈Dice⌉", pooled["best_dice"], oracle, spread.get("best_dice")),
    ]
    named = {
        "dice": "Dice",
        "sensitivity": "sensitivity",
        "precision": "precision",
        "dice_mean": "Dice per case, mean",
    }
    for protocol, values in voxel["at_threshold"].items():
        rows += _rows("voxel", values, named, protocol)
    return [*rows, *residuals]


def _mask_rows(mask: dict[str, Any]) -> list[dict[str, Any]]:
    cases, empty = mask["cases"], mask["empty"]
    named = {"dice": "Dice", "jaccard": "Jaccard"}
    named = {name: f"{metric} (n = {cases})" for name, metric in named.items()}
    named |= {
        "hd95_mm": f"HD95, mm (n = {cases - empty})",
        "volume_difference": f"volume difference (n = {cases})",
    }
    rows = _rows("mask", mask, named, mask["protocol"])
    metric = f"empty masks of {cases} cases with lesions"
    return [*rows, _row("mask", metric, empty if cases else None, mask["protocol"])]


def _lesion_rows(lesion: dict[str, Any]) -> list[dict[str, Any]]:
    protocol = lesion["protocol"]
    named = {"recall_overlap": "recall (any overlap)", "recall_iou": "recall (IoU ≥ 0.1)"}
    named |= {"false_positives_per_scan": "false positives per scan"}
    rows = _rows("lesion", lesion, named, protocol)
    for volume in lesion["by_volume"]:
        top = "∞" if volume["to_mm3"] is None else f"{volume['to_mm3']:g}"
        metric = f"recall, {volume['from_mm3']:g}–{top} mm³ (n = {volume['lesions']})"
        rows.append(_row("lesion", metric, volume["recall_overlap"], protocol))
    froc = lesion["froc"].items()
    return rows + [_row("lesion", f"FROC recall at {rate} FP/scan", value, "ladder") for rate, value in froc]


def _regime_rows(found: dict[str, Any], masks: str | None) -> list[dict[str, Any]]:
    """Slices by their scan's label, and by disease."""
    named = {
        "clinical_auroc": "AUROC, clinical",
        "clinical_ap": "AP, clinical",
        "clinical_prevalence": "AP of prevalence, clinical",
        "a": "AUROC a: lesion / rest of scan",
        "b": "AUROC b: lesion / healthy",
        "c": "AUROC c: rest of scan / healthy",
        "scan_auroc_max": "AUROC of scans by their highest slice",
        "scan_auroc_mean": "AUROC of scans by their mean slice",
    }
    rows = _rows("slice", found["regimes"], named)
    for each in found["pathologies"]:
        rows += _rows("slice", each, {"auroc": f"AUROC, {each['pathology']} (n = {each['scans']})"})
        rows += _rows("mask", each, {"dice": f"Dice, {each['pathology']} (n = {each['scans']})"}, masks)
    return rows


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    spread = "" if row["low"] is None else f"{row['low']:.3f} – {row['high']:.3f}"
    return row["level"], row["metric"], row["protocol"], f"{row['value']:.4f}", spread


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = ["| level | metric | threshold protocol | value | 95 % interval |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(row)) + " |" for row in rows)]) + "\n"


def headlines(rows: list[dict[str, Any]], protocol: str | None) -> list[dict[str, Any]]:
    """The rows that fit on a screen; of the thresholds only the ``protocol`` of the masks."""
    told = ("", protocol, "ladder")
    return [
        row
        for row in rows
        if row["metric"] in HEADLINES and (row["protocol"] in told or row["protocol"].startswith("oracle"))
    ]


def show(content: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the headlines, how the false-positive rates held and where the files are."""
    from rich.table import Table

    console = screen(wrap=True)
    title = f"{content['method']} · {content['cases']} cases, {content['patients']} patients"
    table = Table("level", "metric", "threshold protocol", "value", "95 % interval", title=title)
    for row in headlines(rows, content["mask"]["protocol"]):
        table.add_row(*_cells(row))
    console.print(table)
    for row in content["case"]["false_positive_rate"]:
        verdict = "inside" if row["within"] else ("below" if row["not_above"] else "ABOVE")
        console.print(
            f"healthy cases at nominal {row['nominal']:.0%}: {row['flagged']} of {row['n']} flagged, realised {row['realised']:.1%}, "
            f"{verdict} the binomial range {row['expected'][0]:.1%} – {row['expected'][1]:.1%}"
        )
    if content["case"]["unresolved"]:
        levels = ", ".join(f"{level:.0%}" for level in content["case"]["unresolved"])
        needed = round(1 / min(content["case"]["unresolved"])) - 1
        console.print(
            f"nominal {levels}: not shown, {content['case']['calibration_cases']} calibration case(s) cannot resolve it; {needed} would"
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
    console.print(f"all {len(rows)} rows: {folder / 'table.md'}; figures beside it", soft_wrap=True)
