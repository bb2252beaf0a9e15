"""Results and truth into tables: one pass over the cases, every Dice with its threshold protocol."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aberra.cohort import Cohort
from aberra.detector.calibration import FIXED, GIVEN
from aberra.errors import ConfigError, InputError, MismatchError, shortlist
from aberra.failures import refuse, told
from aberra.files import csv_text, read_json, reading, write_json, write_text
from aberra.foreground import region
from aberra.kinds import GUESSED, is_guessed
from aberra.metrics import figures
from aberra.metrics.paired import compare
from aberra.metrics.tables import COLUMNS, as_markdown, rows_of, show
from aberra.options import Share, Within, configured, conforming
from aberra.output import claim, expect_results
from aberra.result import LEARNT_FROM, SCANS_OWN
from aberra.workflows.tally import OTSU, Compared, Tally, pathology_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.cohort import Case
    from aberra.volume import Volume

PROTOCOLS = {
    "validation-lesion": "validation lesions",
    FIXED: "fixed: 0.5 of a probability",
    GIVEN: "masks as imported",
    OTSU: "the maps that are judged, without their truth",
}
"""What a threshold was set on, where it was not healthy held-out cases."""

REGION = "manifest mask where given, else all of the scan but its background; lesion voxels always"


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

    Voxel metrics pool all cases with truth (a lesion mask, or label 0, which means an empty one);
    lesion metrics use the masks as written; voxels of the column ``ignore`` are not judged; case
    metrics use ``score`` and ``p`` against ``label``, and ``probability`` where there is one
    (accuracy, Cohen's kappa, calibration error). Where a method reconstructs in the scan's own
    intensities (``prepare.normalise = "none"``), its change of healthy cases has a mean square, and
    that of cases with a column ``truth`` is compared with it. Where results tell kinds of lesion apart
    (``kinds.nii.gz``), each label value has its Dice. Slices are judged by their own lesions and by
    their scan's label; where the manifest names diseases (column ``pathology`` or ``profile``), also
    one by one. Intervals resample patients.

    Args:
        results: folder of ``aberra detect``.
        manifest: the truth.
        split: only this split.
        allow_missing: leave cases without a result, and those that cannot be read, out instead of
            refusing.
        against: further result folders of the same cases, compared pairwise with this one.
        n_boot: bootstrap replicates.
        seed: of bootstrap and tests.
        curves: also compute FROC and draw figures, which takes more than half of the time.
        progress: show a progress bar and print the table.

    Returns:
        What is written to ``results/evaluation/metrics.json``.

    Raises:
        InputError: no case has a result, or some have not and ``allow_missing`` is off; or truth is a
            guess.
        MismatchError: a map and its truth are on different grids.
        OutputError: ``results`` is not a folder that aberra wrote.
    """
    results = Path(conforming(results, str | PathLike, "results"))
    cohort = manifest if isinstance(manifest, Cohort) else Cohort.read(manifest)
    cases = list(cohort.select(split=split) if split else cohort)
    guesses = [case.case for case in cases if is_guessed(case.groups)]
    if guesses:
        raise InputError(
            f"{cohort.source}: the lesion masks of {len(guesses)} case(s) are guesses of a detector (column '{GUESSED}'): "
            f"{shortlist(guesses, 5)}. Evaluate against outlines"
        )
    missing = [case.case for case in cases if not (results / case.case / "result.json").is_file()]
    cases = [case for case in cases if case.case not in missing]
    if not cases or (missing and not allow_missing):
        raise InputError(
            f"{results}: no result for {len(missing)} case(s): {shortlist(missing, 10)}. Run `aberra detect`, or --allow-missing"
        )

    expect_results(results, (case.case for case in cases))
    folder = results / "evaluation"
    claim(folder, "evaluation")
    calibration = _calibration(results / "calibration.json")
    tally = Tally(calibration, replicates=n_boot, seed=seed, curves=curves)
    method, failed = _walk(results, cases, tally, progress=progress)
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
        "protocols": {
            name: PROTOCOLS.get(name, "healthy held-out cases")
            for name in (*tally.thresholds, *[OTSU] * bool(tally.otsu))
        },
        **tally.summary(),
        "per_case": tally.cases,
        "warnings": tally.warnings,
    }
    if against:
        content["against"] = _against(content, results, against)
    content["figures"] = [] if not curves else _figures(folder, tally, content)
    rows = rows_of(content)
    write_json(folder / "metrics.json", content)
    write_text(folder / "table.csv", csv_text(COLUMNS, rows))
    write_text(folder / "table.md", as_markdown(rows))
    if progress:
        show(content, rows, folder)
    return content


def _walk(
    results: Path, cases: list[Case], tally: Tally, *, progress: bool
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
            added = tally.add(case.patient, found, pathology_of(case.groups)) if found else {}
            tally.cases.append(row | added)
        except Exception as error:
            if pooled:  # the pools may hold half of the case
                raise InputError(f"{case.case}: {told(error, results, case.case)}") from error
            failed[case.case] = error
    return method, failed


def _read_case(
    folder: Path, case: Case, warnings: dict[str, list[str]], *, kinds_told: bool
) -> tuple[str, dict[str, Any], Compared | None]:
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
                "probability": conforming(saved.get("probability"), Share | None, "probability"),
                "groups": case.groups,
            }
        except (ConfigError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder / 'result.json'}: damaged ({error}); delete the folder and detect again"
            ) from error
    if LEARNT_FROM in saved.get("warnings", ()):
        warnings.setdefault(case.case, []).append(LEARNT_FROM)
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
    labels, judged = truth_of(case, found, warnings)
    second = read_mask(case.lesion2, found) if case.lesion is not None and case.lesion2 is not None else None
    if case.ignore is not None:
        kept = ~read_mask(case.ignore, found)
        found, mask = found.with_(data=found.data * kept), mask & kept
        labels, judged, second = labels * kept, judged & kept, None if second is None else second & kept
    healthy = (
        Volume.read(folder / "reconstruction.nii.gz")
        if saved["input"].get(SCANS_OWN) and (folder / "reconstruction.nii.gz").is_file()
        else None
    )
    row |= {"protocol": protocol} | ({} if healthy is None else _changes(case, healthy, judged))
    return method, row, Compared(found, mask, labels, judged, spread, kinds, second)


def _changes(case: Case, healthy: Volume, judged: NDArray[np.bool]) -> dict[str, float]:
    """How far the healthy version of a healthy scan is from it, and how far its difference to a
    diseased one is from what is known of it.
    """
    from aberra.io import onto, read
    from aberra.metrics.signed import mse, ssim

    scan = onto(
        case.read(list(healthy.channels) if set(healthy.channels) <= set(case.channels) else None), healthy
    )
    if scan is None or scan.data.shape != healthy.data.shape:
        return {}
    change = healthy.data - scan.data
    if case.healthy:
        return {"identity_mse": mse(change, np.zeros_like(change), judged)}
    if case.truth is None:
        return {}
    truth = onto(read(case.truth), healthy)
    if truth is None or truth.data.shape != change.shape:
        raise MismatchError(
            f"{case.truth}: shape {None if truth is None else truth.shape}, the scan has {healthy.shape} and {len(healthy.channels)} channel(s); the column 'truth' is the healthy scan minus this one"
        )
    return {"change_mse": mse(change, truth.data, judged), "change_ssim": ssim(change, truth.data, judged)}


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


def truth_of(
    case: Case, found: Volume, warnings: dict[str, list[str]]
) -> tuple[NDArray[np.uint8], NDArray[np.bool]]:
    """The lesion's label values and the region that is judged, on a map's grid; notes what
    reading them warned of.

    Raises:
        MismatchError: the map is not of that scan.
    """
    from aberra.io import onto

    given = case.read(list(case.channels)[:1])
    scan = onto(given, found)
    if scan is None:
        raise MismatchError(
            f"{case.case}: the map is {found.shape}, the scan {given.shape} or lies elsewhere; were the results made from this manifest?"
        )
    labels = np.zeros(found.shape, np.uint8) if scan.labels is None else scan.labels
    if scan.provenance["warnings"]:
        warnings.setdefault(case.case, []).extend(scan.provenance["warnings"])
    return labels, region(scan) | (labels > 0)


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


def _figures(folder: Path, tally: Tally, content: dict[str, Any]) -> list[str]:
    made = figures.voxel_figures(folder, tally.histogram, tally.thresholds, content["voxel"]["pooled"])
    made += figures.froc_figure(folder, content["lesion"]["froc_points"])
    made += figures.reliability_figure(folder, content["reliability"])
    made += figures.sparsification_figure(folder, content["uncertainty"])
    scores = np.array([row["score"] for row in tally.cases], dtype=float)
    labels = np.array([row["label"] for row in tally.cases], dtype=bool)
    return made + figures.case_figures(folder, scores, labels, content["case"]["false_positive_rate"])
