"""Predictions of other tools (nnU-Net, ...) as results that ``evaluate`` and ``report`` read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.detector.calibration import FIXED, GIVEN, Calibration
from aberra.detector.postprocess import CaseScore, PostProcess
from aberra.errors import InputError, MismatchError, shortlist
from aberra.failures import refuse
from aberra.files import atomic_path, config_hash, write_json
from aberra.foreground import region
from aberra.output import check_names, claim, new_folder
from aberra.result import Result, grid_facts
from aberra.workflows.detect import FILES
from aberra.workflows.scores import write_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case

SUFFIXES = (".nii", ".nii.gz")
"""Of predictions; where there are both, the last counts."""


def import_predictions(
    folder: Path | str,
    manifest: Path | str | Cohort,
    *,
    out: Path | str,
    split: str | None = None,
    probabilities: bool = False,
    labels: Sequence[int] | None = None,
    allow_missing: bool = False,
    progress: bool = True,
) -> list[str]:
    """Write a result folder for every predicted mask or probability map, as ``aberra detect``
    would; all or none.

    A case's prediction is ``folder/<case>.nii.gz`` (or ``.nii``), on the grid of its scan; nnU-Net
    writes masks so. Masks are taken as they are (protocol ``as-given``), probabilities are cut at
    0.5 (protocol ``fixed-0.5``); no region is dropped. Masks of several label values keep them in
    ``kinds.nii.gz``. The case score is the map's mean over the scan's mask, or its non-zero voxels.
    There are no healthy held-out cases behind it, so there are no p-values.

    Args:
        folder: of the predictions.
        manifest: the scans, whose ``case`` column names the files.
        out: folder of the results; new or empty.
        split: only this split.
        probabilities: the files are probabilities in [0, 1], not masks.
        labels: values of a label map that count as lesion; None takes all but 0.
        allow_missing: leave cases without a prediction out instead of refusing.
        progress: show a progress bar.

    Returns:
        The cases written.

    Raises:
        InputError: no case has a prediction, or some have none and ``allow_missing`` is off; values
            that are no mask or no probability.
        MismatchError: a prediction is on another grid than its scan.
        OutputError: ``out`` holds something, or lies in a scan.
    """
    from rich.progress import track

    folder, out = Path(folder), Path(out)
    cohort = manifest if isinstance(manifest, Cohort) else Cohort.read(manifest)
    cohort = cohort.select(split=split)
    names = [case.case for case in cohort]
    files = {name: path for name in names for end in SUFFIXES if (path := folder / f"{name}{end}").is_file()}
    missing = [name for name in names if name not in files]
    if not files or (missing and not allow_missing):
        raise InputError(
            f"{folder}: no prediction for {len(missing)} case(s): {shortlist(missing, 10)}; expected <case>.nii.gz, named as in the manifest's column "
            "'case'. To leave them out: --allow-missing"
        )
    check_names(names, FILES)
    keep_out(out, [*inputs_of(cohort), *files.values()])
    out = new_folder(out)
    protocol = FIXED if probabilities else GIVEN
    calibration = Calibration(
        thresholds={protocol: 0.5}, scores=[], scale={"low": 0.0, "high": 1.0}, n_cases=0, n_voxels=0,
        default=protocol, notes=["imported predictions: nothing was calibrated"],
    )  # fmt: skip
    chosen = [case for case in cohort if case.case in files]
    failed: dict[str, Exception] = {}
    with atomic_path(out) as temporary:
        claim(temporary, "results", identity=config_hash(["imported", str(folder.resolve()), protocol]))
        for case in track(chosen, description="importing", disable=not progress):
            try:
                result = _result(case, files[case.case], protocol, labels, folder.name)
                result.save(temporary / case.case)
            except Exception as error:  # noqa: BLE001 - told below, with those of the other cases
                failed[case.case] = error
        refuse(failed, "imported")
        write_json(temporary / "calibration.json", calibration.to_json())
        write_scores(temporary, cohort, {})
    return list(files)


def _result(case: Case, path: Path, protocol: str, labels: Sequence[int] | None, name: str) -> Result:
    """One prediction as a result."""
    from aberra.io import is_whole, labels_of, onto, read
    from aberra.versions import versions

    channel, source = next(iter(case.channels.items()))
    scan, given = case.read([channel]), read(path)
    found = onto(given, scan)
    if found is None:
        raise MismatchError(
            f"{path}: the prediction is {given.shape}, its scan {source} is {scan.shape} or lies elsewhere; predict on the scan's own grid"
        )
    values, kinds, note = found.data[0], None, ""
    if protocol == FIXED:
        if values.min() < 0 or values.max() > 1:
            raise InputError(
                f"{path}: values from {values.min():g} to {values.max():g}; expected probabilities in [0, 1]"
            )
    else:
        if not is_whole(values):
            raise InputError(
                f"{path}: values that are no labels; expected whole numbers from 0, or --probabilities for a probability map"
            )
        values = np.rint(values)
        lesion = values > 0 if labels is None else np.isin(values, list(labels))
        told, note = labels_of(values * lesion, path)
        kinds = told if (told > 1).any() else None
        values = lesion.astype(np.float32)
    grid = scan.with_(data=values[None], channels=("anomaly",), mask=None, lesion=None)
    mask, components = PostProcess(min_mm3=0).segment(values, grid, 0.5)
    inside = region(scan)
    return Result(
        case=case.case,
        paths={channel: str(source)},
        map=grid,
        mask=mask,
        reconstruction=None,
        kinds=kinds,
        score=CaseScore(reduce="mean")(values, inside),
        p=None,
        components=components,
        threshold={"protocol": protocol, "value": 0.5},
        scale={"low": 0.0, "high": 1.0},
        warnings=[
            "no p-value: an imported prediction, not calibrated on healthy cases",
            *([note] if note else []),
        ],
        model={"name": name, "method": "imported", "fingerprint": "imported"},
        input={"sha256": case.content_hash([channel])} | grid_facts(scan),
        versions=versions(),
    )
