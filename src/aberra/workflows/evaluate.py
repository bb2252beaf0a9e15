"""Results and truth into tables: one pass over the cases, every Dice with its threshold protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aberra.cohort import Cohort
from aberra.detector.calibration import FIXED, GIVEN
from aberra.errors import InputError, MismatchError
from aberra.failures import refuse, told
from aberra.files import read_json, reading, write_json, write_text
from aberra.foreground import region
from aberra.metrics import figures
from aberra.metrics.bootstrap import PatientBootstrap, bootstrap
from aberra.metrics.case import auroc, average_precision, fpr_at_tpr, realised_fpr
from aberra.metrics.kinds import KindOverlap
from aberra.metrics.lesion import FP_RATES, Froc, LesionCounts
from aberra.metrics.paired import compare
from aberra.metrics.slices import SliceScores
from aberra.metrics.surface import hd95
from aberra.metrics.tables import as_csv, as_markdown, rows_of, show
from aberra.metrics.uncertainty import Reliability, UncertaintyQuality
from aberra.metrics.voxel import Overlap, Residuals, VoxelHistogram
from aberra.options import Within, configured, conforming
from aberra.output import claim, expect_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aberra.cohort import Case
    from aberra.volume import Volume

CASE_BITS = 18
"""Resolution of a single case's histogram: AP to about 1e-5, 4 MiB."""

LADDER = 16
"""Thresholds of the FROC curve."""

MIN_VOXELS = 8
"""Findings below this are dropped in FROC, as in the masks."""

MIN_GROUP = 10
"""Healthy cases of a group from which its false-positive rate is printed."""

PROTOCOLS = {
    "validation-lesion": "validation lesions",
    FIXED: "fixed: 0.5 of a probability",
    GIVEN: "masks as imported",
}
"""What a threshold was set on, where it was not healthy held-out cases."""

REGION = "manifest mask where given, else all of the scan but its background; lesion voxels always"


@dataclass
class _Tally:
    """What one pass accumulates; nothing here grows with the number of voxels."""

    bootstrap: PatientBootstrap
    froc: Froc
    histogram: VoxelHistogram = field(default_factory=VoxelHistogram)
    residuals: Residuals = field(default_factory=Residuals)
    lesions: LesionCounts = field(default_factory=LesionCounts)
    slices: SliceScores = field(default_factory=SliceScores)
    reliability: Reliability = field(default_factory=Reliability)
    uncertainty: UncertaintyQuality = field(default_factory=UncertaintyQuality)
    pooled: dict[str, Overlap] = field(default_factory=dict)
    kinds: KindOverlap = field(default_factory=KindOverlap)
    cases: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)


@configured("evaluate")
def evaluate(
    results: Path | str,
    manifest: Path | str | Cohort,
    *,
    split: str | None = None,
    allow_missing: bool = False,
    against: Sequence[Path | str] = (),
    n_boot: Annotated[int, Within(1, 100_000)] = 500,
    seed: int = 0,
    curves: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare what ``detect`` wrote with the truth.

    Voxel metrics pool all cases with truth (a lesion mask, or label 0, which means an empty one); lesion metrics
    use the masks as written; voxels of the column ``ignore`` are not judged; case metrics use ``score`` and ``p`` against ``label``. Where results tell kinds of lesion
    apart (``kinds.nii.gz``), each label value has its Dice. Intervals resample patients.

    Args:
        results: folder of ``aberra detect``.
        manifest: the truth.
        split: only this split.
        allow_missing: leave cases without a result, and those that cannot be read, out instead of refusing.
        against: further result folders of the same cases, compared pairwise with this one.
        n_boot: bootstrap replicates.
        seed: of bootstrap and tests.
        curves: also compute FROC and draw figures, which takes more than half of the time.
        progress: show a progress bar and print the table.

    Returns:
        What is written to ``results/evaluation/metrics.json``.

    Raises:
        InputError: no case has a result, or some have not and ``allow_missing`` is off.
        MismatchError: a map and its truth are on different grids.
        OutputError: ``results`` is not a folder that aberra wrote.
    """
    results = Path(conforming(results, str | PathLike, "results"))
    cohort = manifest if isinstance(manifest, Cohort) else Cohort.read(manifest)
    cases = list(cohort.select(split=split) if split else cohort)
    missing = [case.case for case in cases if not (results / case.case / "result.json").is_file()]
    cases = [case for case in cases if case.case not in missing]
    if not cases or (missing and not allow_missing):
        listed = ", ".join(missing[:10]) + (" ..." if len(missing) > 10 else "")
        raise InputError(
            f"{results}: no result for {len(missing)} case(s): {listed}. Run `aberra detect`, or --allow-missing"
        )

    expect_results(results, (case.case for case in cases))
    folder = results / "evaluation"
    claim(folder, "evaluation")
    calibration = _calibration(results / "calibration.json")
    thresholds: dict[str, float] = calibration.get("thresholds", {})
    tally = _Tally(PatientBootstrap(n_boot, seed), Froc(_ladder(calibration) if curves else []))
    method, failed = _walk(results, cases, thresholds, tally, progress=progress)
    if failed and (
        not allow_missing or len(failed) == len(cases)
    ):  # numbers of fewer cases are other numbers
        refuse(failed, "evaluated (--allow-missing leaves them out)", results)
    cases = [case for case in cases if case.case not in failed]

    content: dict[str, Any] = {
        "method": method,
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "missing": missing,
        "failed": {case: told(error, results, case) for case, error in failed.items()},
        "region": REGION,
        "protocols": {name: PROTOCOLS.get(name, "healthy held-out cases") for name in thresholds},
        "voxel": _voxel(tally, thresholds),
        "mask": _mask(tally),
        "raters": _mean(tally, "raters_dice"),
        "kinds": tally.kinds.summary(FIXED if FIXED in thresholds else calibration.get("default")),
        "reliability": tally.reliability.summary(replicates=n_boot, seed=seed),
        "uncertainty": tally.uncertainty.summary(replicates=n_boot, seed=seed),
        "lesion": _lesion(tally, calibration.get("default")),
        "slice": tally.slices.summary(replicates=n_boot, seed=seed),
        "case": _case(tally, n_boot, seed),
        "per_case": tally.cases,
        "warnings": tally.warnings,
    }
    if against:
        content["against"] = _against(content, results, against)
    content["figures"] = [] if not curves else _figures(folder, tally, thresholds, content)
    rows = rows_of(content)
    write_json(folder / "metrics.json", content)
    write_text(folder / "table.csv", as_csv(rows))
    write_text(folder / "table.md", as_markdown(rows))
    if progress:
        show(content, rows, folder)
    return content


def _walk(
    results: Path, cases: list[Case], thresholds: dict[str, float], tally: _Tally, *, progress: bool
) -> tuple[str, dict[str, Exception]]:
    """Read every case once; returns the method and what came of the cases that failed."""
    from rich.progress import track

    method, failed = "unknown", dict[str, Exception]()
    kinds_told = any((results / case.case / "kinds.nii.gz").is_file() for case in cases)
    for case in track(cases, description="evaluating", disable=not progress):
        pooled = False
        try:
            method, row, found = _read_case(results / case.case, case, tally.warnings, kinds_told=kinds_told)
            pooled = True
            tally.cases.append(row | (_score_case(case.patient, found, thresholds, tally) if found else {}))
        except Exception as error:
            if pooled:  # the pools may hold half of the case
                raise InputError(f"{case.case}: {told(error, results, case.case)}") from error
            failed[case.case] = error
    return method, failed


@dataclass(frozen=True)
class _Found:
    """What is compared of a case: result and truth on one grid."""

    map: Volume
    mask: NDArray[np.bool]
    labels: NDArray[np.uint8]
    region: NDArray[np.bool]
    spread: NDArray[np.float32] | None
    kinds: NDArray[np.generic] | None
    second: NDArray[np.bool] | None


def _read_case(
    folder: Path, case: Case, warnings: dict[str, list[str]], *, kinds_told: bool
) -> tuple[str, dict[str, Any], _Found | None]:
    """A case's method, what its result says, and its arrays, where there is truth."""
    from aberra.io import read_mask
    from aberra.volume import Volume

    with reading(folder):
        try:
            saved = read_json(folder / "result.json")
            method, protocol = str(saved["model"].get("name", "unknown")), saved["threshold"]["protocol"]
            row: dict[str, Any] = {
                "case": case.case,
                "patient": case.patient,
                "label": case.label if case.label is not None else (0 if case.healthy else 1),
                "score": saved["score"],
                "p": saved["p"],
                "groups": case.groups,
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder / 'result.json'}: damaged ({error}); delete the folder and detect again"
            ) from error
    if case.lesion is None and not case.healthy:
        return method, row, None
    found = Volume.read(folder / "map.nii.gz")
    mask = Volume.read(folder / "mask.nii.gz").data[0] > 0
    spread, kinds = (_optional(folder / f"{name}.nii.gz") for name in ("uncertainty", "kinds"))
    if kinds_told and kinds is None:  # without kinds all of the mask is 1, as in lesion masks
        kinds = mask
    for name, array in (("mask", mask), ("uncertainty", spread), ("kinds", kinds)):
        if array is not None and array.shape != found.shape:
            raise MismatchError(
                f"{folder / name}.nii.gz: shape {array.shape}, the map has {found.shape}; detect again"
            )
    labels, judged = _truth(case, found, warnings)
    second = read_mask(case.lesion2, found) if case.lesion is not None and case.lesion2 is not None else None
    if case.ignore is not None:
        kept = ~read_mask(case.ignore, found)
        found, mask = found.with_(data=found.data * kept), mask & kept
        labels, judged, second = labels * kept, judged & kept, None if second is None else second & kept
    return method, row | {"protocol": protocol}, _Found(found, mask, labels, judged, spread, kinds, second)


def _calibration(path: Path) -> dict[str, Any]:
    """The calibration that the results were made with, or nothing."""
    with reading(path):
        if not path.is_file():
            return {}
        try:
            return dict(read_json(path))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); copy the folder again, or detect again") from error


def _optional(path: Path) -> NDArray[Any] | None:
    """The values (D, H, W) of a file that not every result has."""
    from aberra.volume import Volume

    return Volume.read(path).data[0] if path.is_file() else None


def _truth(
    case: Case, found: Volume, warnings: dict[str, list[str]]
) -> tuple[NDArray[np.uint8], NDArray[np.bool]]:
    """The lesion's label values and the region that is judged, on the map's grid; notes what reading them warned of."""
    from aberra.io import onto

    given = case.read(list(case.channels)[:1])
    scan = onto(given, found)
    if scan is None:
        raise MismatchError(
            f"{case.case}: the map is {found.shape}, the scan {given.shape} or lies elsewhere; were the results made from this manifest?"
        )
    labels = np.zeros(found.shape, np.uint8) if scan.labels is None else scan.labels
    if scan.provenance["warnings"]:
        warnings[case.case] = scan.provenance["warnings"]
    return labels, region(scan) | (labels > 0)


def _score_case(patient: str, case: _Found, thresholds: dict[str, float], tally: _Tally) -> dict[str, Any]:
    """Add a case to the pools and return its own metrics."""
    found, mask, judged = case.map, case.mask, case.region
    truth = case.labels > 0
    scores, marks = found.data[0][judged], truth[judged]
    tally.histogram.add(scores, marks)
    tally.bootstrap.add(patient, scores, marks)
    tally.residuals.add(scores, marks)
    tally.slices.add(patient, found.data[0], truth, judged, found.affine)
    tally.lesions.add(mask, truth, found.voxel_mm3)
    tally.froc.add(found.data[0], truth, found.voxel_mm3, MIN_VOXELS)
    if FIXED in thresholds:  # then the map is a probability
        tally.reliability.add(patient, scores, marks)
    if case.spread is not None:
        tally.uncertainty.add(patient, case.spread[judged], mask[judged], marks)
    own = VoxelHistogram(CASE_BITS)
    own.add(scores, marks)
    curve = own.curve()
    dice = {}
    for name, value in thresholds.items():
        overlap = Overlap.of(scores > value, marks)
        tally.pooled[name] = tally.pooled.get(name, Overlap()) + overlap
        dice[name] = overlap.dice if marks.any() else None
    drawn = Overlap.of(mask, truth)
    return {
        "ap": curve.ap,
        "auroc": curve.auroc,
        "best_dice": curve.best_dice,
        "prevalence": curve.prevalence,
        "dice": dice,
        "kinds": {} if case.kinds is None else tally.kinds.add(case.kinds[judged], case.labels[judged]),
        "mask_dice": drawn.dice if truth.any() else None,
        "mask_jaccard": drawn.jaccard if truth.any() else None,
        "mask_hd95_mm": hd95(mask, truth, found.spacing),
        "mask_empty": not mask.any(),
        "raters_dice": None if case.second is None else Overlap.of(case.second, truth).dice,
    }


def _ladder(calibration: dict[str, Any]) -> list[float]:
    """Thresholds for FROC: from the healthy 90 % quantile to well above the colour scale, geometrically."""
    low = calibration.get("thresholds", {}).get("healthy-fpr-10", 0.0)
    high = calibration.get("scale", {}).get("high", 1.0) * 2
    low = max(low, high / 1000)
    return [float(step) for step in np.geomspace(low, high, LADDER)]


def _voxel(tally: _Tally, thresholds: dict[str, float]) -> dict[str, Any]:
    curve = asdict(tally.histogram.curve())
    replicates = tally.bootstrap.samples() if curve["positives"] else {}
    curve["intervals"] = tally.bootstrap.intervals(replicates) if replicates else {}
    # the same patients' weights for every method: what paired tests of pooled metrics need
    curve["replicates"] = {
        name: [None if np.isnan(value) else round(float(value), 6) for value in values]
        for name, values in replicates.items()
    }
    at = {}
    for name, overlap in tally.pooled.items():
        own = [row["dice"][name] for row in tally.cases if row.get("dice") and row["dice"][name] is not None]
        at[name] = {
            "threshold": thresholds[name],
            "dice": overlap.dice,
            "sensitivity": overlap.sensitivity,
            "precision": overlap.precision,
            "dice_mean": float(np.mean(own)) if own else None,
            "dice_std": float(np.std(own)) if own else None,
        }
    residuals = tally.residuals.summary() | {"histogram": tally.residuals.bins()}
    return {"pooled": curve, "per_case": _mean(tally, "ap"), "at_threshold": at, "residuals": residuals}


def _mask(tally: _Tally) -> dict[str, Any]:
    """The masks as written, over the cases with lesions: an empty one has Dice and Jaccard 0 and no HD95."""
    judged = [row for row in tally.cases if row.get("mask_dice") is not None]
    found: dict[str, Any] = {
        "protocol": ", ".join(sorted({row["protocol"] for row in judged})),
        "cases": len(judged),
        "empty": sum(row["mask_empty"] for row in judged),
        "empty_healthy": sum(
            row["mask_empty"] for row in tally.cases if row["label"] == 0 and "mask_empty" in row
        ),
    }
    for name in ("dice", "jaccard", "hd95_mm"):
        found[name] = _mean(tally, f"mask_{name}")["mean"]
    return found


def _mean(tally: _Tally, name: str) -> dict[str, Any]:
    """Mean of a figure over the cases that have it."""
    values = [row[name] for row in tally.cases if row.get(name) is not None]
    return {"cases": len(values), "mean": float(np.mean(values)) if values else None}


def _lesion(tally: _Tally, protocol: str | None) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "overlap": "any voxel; IoU 0.1",
        **tally.lesions.summary(),
        "froc": tally.froc.at(FP_RATES),
        "froc_points": tally.froc.points(),
    }


def _case(tally: _Tally, n_boot: int, seed: int) -> dict[str, Any]:
    scores = np.array([row["score"] for row in tally.cases], dtype=float)
    labels = np.array([row["label"] for row in tally.cases], dtype=bool)
    patients = [row["patient"] for row in tally.cases]
    found: dict[str, Any] = {"healthy": int((~labels).sum()), "diseased": int(labels.sum())}
    measures: dict[str, Callable[..., float | None]] = {
        "auroc": auroc, "ap": average_precision, "fpr_at_95_tpr": fpr_at_tpr,
    }  # fmt: skip
    for name, measure in measures.items():
        value = measure(scores, labels)
        found[name] = value
        if value is not None:
            statistic = partial(_resampled, measure, scores, labels)
            found[f"{name}_interval"] = bootstrap(statistic, patients, replicates=n_boot, seed=seed)
    healthy = [row for row in tally.cases if row["label"] == 0 and row["p"] is not None]
    found["false_positive_rate"] = realised_fpr([row["p"] for row in healthy]) if healthy else []
    found["false_positive_rate_by_group"] = {
        f"{column}={value}": realised_fpr([row["p"] for row in healthy if row["groups"].get(column) == value])
        for column in ("site", "sex")
        for value in sorted({row["groups"].get(column, "") for row in healthy})
        if value and sum(row["groups"].get(column) == value for row in healthy) >= MIN_GROUP
    }
    return found


def _resampled(
    measure: Callable[..., float | None],
    scores: NDArray[np.float64],
    labels: NDArray[np.bool],
    drawn: NDArray[np.int64],
) -> float | None:
    """A case measure of the cases drawn."""
    return measure(scores[drawn], labels[drawn])


def _against(content: dict[str, Any], results: Path, others: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Paired tests of per-patient AP against other evaluated folders."""
    table = {str(results): _per_patient(content)}
    for other in others:
        path = Path(other) / "evaluation" / "metrics.json"
        if not path.is_file():
            raise InputError(f"{path}: not there; run `aberra evaluate {other} MANIFEST` first")
        with reading(path):
            try:
                table[str(other)] = _per_patient(read_json(path))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}: damaged ({error}); run `aberra evaluate {other} MANIFEST` again"
                ) from error
    return compare(table, str(results))


def _per_patient(content: dict[str, Any]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in content["per_case"]:
        if row.get("ap") is not None:
            found.setdefault(row["patient"], []).append(row["ap"])
    return {patient: float(np.mean(values)) for patient, values in found.items()}


def _figures(folder: Path, tally: _Tally, thresholds: dict[str, float], content: dict[str, Any]) -> list[str]:
    made = figures.voxel_figures(folder, tally.histogram, thresholds, content["voxel"]["pooled"])
    made += figures.froc_figure(folder, content["lesion"]["froc_points"])
    made += figures.reliability_figure(folder, content["reliability"])
    made += figures.sparsification_figure(folder, content["uncertainty"])
    scores = np.array([row["score"] for row in tally.cases], dtype=float)
    labels = np.array([row["label"] for row in tally.cases], dtype=bool)
    return made + figures.case_figures(folder, scores, labels, content["case"]["false_positive_rate"])
