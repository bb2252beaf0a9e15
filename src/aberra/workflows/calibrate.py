"""Run a detector on healthy cases, so that it can state thresholds and p-values."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aberra.capabilities import AsksHealthy, MapsProbability, Tunes
from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.cohort.manifest import expect_cohort
from aberra.detector import Detector
from aberra.detector.calibration import Calibration, ScoreHistogram
from aberra.detector.folder import refuse_finished
from aberra.errors import CalibrationError, InputError
from aberra.failures import refuse, told
from aberra.files import config_hash, write_json
from aberra.method import SUPERVISED, Method
from aberra.metrics.voxel import VoxelHistogram
from aberra.options import Maybe, configured
from aberra.output import claim
from aberra.pretrained import shipped_detectors
from aberra.training.config import LESION_FREE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aberra.cohort import Case
    from aberra.detector import Analysis
    from aberra.volume import Volume


@configured("calibrate")
def calibrate(
    detector: Detector,
    cohort: Cohort,
    *,
    channels: Sequence[str] | None = None,
    group_by: str | None = None,
    lesions: bool = False,
    method: Method | None = None,
    adapt: Maybe = 0,
    out: Path | None = None,
    progress: bool = False,
    failed: MutableMapping[str, str] | None = None,
) -> Detector:
    """Calibrate a detector on a cohort's healthy cases and save it.

    A case that fails does not stop the others; the calibration's notes name it.

    Cases that the model has learnt from are left out (recognised by content). With splits in the
    manifest, ``train`` is left out, too, and ``test`` where there is a ``calibration`` or ``val``
    split, so that test cases stay unseen.

    Args:
        detector: stays as it is.
        cohort: healthy cases; diseased ones are only used with ``lesions``, and, where there is no
            healthy one, their lesion-free slices by a detector that was trained on such slices.
        channels: manifest columns to read.
        group_by: manifest column for p-values within groups; ``age`` in bands of ten years.
        lesions: also set the threshold ``validation-lesion``: best pooled Dice on the diseased
            cases.
        method: ask the model this method's question (its score, post-processing and case score); it
            must agree with the detector's own method in everything that was learnt.
        adapt: move the present calibration to the cohort's site by this many of its healthy cases,
            the first, instead of measuring a new one
            (:meth:`aberra.detector.calibration.Calibration.adapted`); 0 does not.
        out: folder to save the calibrated detector in; None saves where it was loaded from.
        progress: show a progress bar.
        failed: gets case and reason of those that fail.

    Returns:
        The calibrated detector.

    Raises:
        OutputError: ``out`` holds something else.
        InputError: no case can be used; lists the reasons.
        CalibrationError: no healthy case is left, the column is missing, a shipped detector or
            another method without ``out``, or nothing to adapt, or that and groups or another
            method.
        ConfigError: another method that would have learnt something else.
    """
    expect_cohort(cohort)
    failed = {} if failed is None else failed
    before = _to_adapt(detector, group_by, method) if adapt else None
    if method is None and _unready(detector):
        method = detector.method
    _check_target(detector, method, out)
    identity = config_hash([detector.identity["fingerprint"], method.settings if method else None])
    if out is not None:
        keep_out(out, inputs_of(cohort))
    logs = out or detector.folder
    if method is not None:
        detector = detector.asking(method)
    wanted = list(channels) if channels else None
    chosen = _for_calibration(cohort)
    fresh, notes, lesion_free = _held_out(detector, chosen, wanted, str(cohort.source))
    fresh = fresh[:adapt] if adapt else fresh
    groups = [case.group(group_by) for case in fresh] if group_by else None
    if groups is not None and not any(groups):
        raise CalibrationError(f"{cohort.source}: no case has a value in column '{group_by}'")
    if out is not None:
        other = "something unfinished of another detector is there; choose another --out or delete the folder"
        claim(out, "detector", identity=identity, other=other)
    if method is not None:
        supervised = detector.method.learns_from in SUPERVISED
        diseased = [case for case in chosen if supervised and not lesion_free and not case.healthy]
        detector = tuned(detector, [*fresh, *unseen(detector, diseased, wanted)], wanted)
    calibration = measure_calibration(
        detector, fresh, wanted, lesion_free=lesion_free, groups=groups, group_by=group_by or "", notes=notes,
        progress=progress, failed=failed, logs=logs,
    )  # fmt: skip
    if before is not None:
        calibration = before.adapted(calibration)
    if lesions:
        diseased = [case for case in chosen if case.lesion is not None]
        value = _best_dice(detector, [*diseased, *fresh], wanted, progress=progress, failed=failed, logs=logs)
        calibration = replace(calibration, thresholds=calibration.thresholds | {"validation-lesion": value})
    detector = detector.with_(calibration=calibration)
    return _kept(detector, calibration, out)


def _kept(detector: Detector, calibration: Calibration, out: Path | None) -> Detector:
    """Save the detector, or the calibration of one that stays where it is."""
    if out is not None:
        return detector.save(out)
    if detector.folder is not None:
        write_json(detector.folder / "calibration.json", calibration.to_json())
    return detector


def _held_out(
    detector: Detector, chosen: list[Case], channels: Sequence[str] | None, source: str
) -> tuple[list[Case], list[str], bool]:
    """Return the cases to calibrate on, notes, and whether only their lesion-free slices can be
    used.
    """
    healthy = [case for case in chosen if case.healthy]
    by_slices = detector.method.training.get("slices") == LESION_FREE
    lesion_free = not healthy and (by_slices or detector.method.learns_from in SUPERVISED)
    if lesion_free:  # then it can be calibrated as it was trained: voxels of slices without lesions
        healthy = [case for case in chosen if case.lesion is not None]
    fresh = unseen(detector, healthy, channels)
    if not fresh:
        raise CalibrationError(
            f"{source}: no healthy case (label 0) that the model has not learnt from; calibration needs held-out healthy scans"
        )
    left = len(healthy) - len(fresh)
    return fresh, [f"{left} case(s) left out: the model learnt from them"] if left else [], lesion_free


def unseen(detector: Detector, cases: Sequence[Case], channels: Sequence[str] | None) -> list[Case]:
    """Cases that the model has not learnt from, recognised by their content; those that cannot be
    read are told of later.
    """
    learnt = set(detector.facts.get("learnt", []))

    def seen(case: Case) -> bool:
        try:
            return case.content_hash(channels or list(case.channels)) in learnt
        except InputError:
            return False

    return [case for case in cases if not seen(case)]


def _to_adapt(detector: Detector, group_by: str | None, method: Method | None) -> Calibration:
    """The calibration that is moved to another site."""
    if detector.calibration is None or group_by or method is not None:
        raise CalibrationError(
            "--adapt moves the calibration that the detector has, as a whole: it needs one, and goes with neither --group nor --method"
        )
    return detector.calibration


def _check_target(detector: Detector, method: Method | None, out: Path | None) -> None:
    """Refuse to calibrate where something else would be lost."""
    if out is None and detector.folder in shipped_detectors().values():
        raise CalibrationError(
            f"{detector.method.name}: a shipped detector stays as it is; give --out FOLDER for the calibrated copy"
        )
    if out is None and method is not None:
        raise CalibrationError(
            f"{detector.method.name}: asked as {method.name} it is another detector; give --out FOLDER for it"
        )
    if out is not None:
        refuse_finished(out)


def tuned(detector: Detector, cases: Sequence[Case], channels: Sequence[str] | None) -> Detector:
    """The detector with the settings that its score, and that of the case, find
    (:class:`aberra.capabilities.Tunes`); they become part of the method.
    """
    asks, method = detector.question, detector.method
    for score, of_case in ((asks.score, False), (asks.case_question, True)):
        if score is None or not isinstance(score.score, Tunes):
            continue
        # one volume at a time: the score decides how many it looks at
        settings = score.score.tune(detector.model, _prepared(detector, cases, channels), detector.runner)
        if of_case:
            method = replace(method, case=method.case | {"score": method.case["score"] | settings})
        else:
            method = replace(method, score=method.score | settings)
    return detector if method is detector.method else detector.asking(method)


def _unready(detector: Detector) -> bool:
    """Whether a score still waits for healthy cases."""
    asked = filter(None, (detector.question.score, detector.question.case_question))
    return any(isinstance(each.score, AsksHealthy) and not each.score.ready for each in asked)


def _prepared(detector: Detector, cases: Sequence[Case], channels: Sequence[str] | None) -> Iterator[Volume]:
    """Yield the prepared scans of the cases that can be read; :func:`measure_calibration` tells of
    the others.
    """
    for case in cases:
        try:
            volume = detector.recipe(detector.read(case, channels))
        except Exception:  # noqa: BLE001, S112 - see above
            continue
        yield volume


def measure_calibration(
    detector: Detector,
    cases: Sequence[Case] | Cohort,
    channels: Sequence[str] | None,
    *,
    lesion_free: bool = False,
    groups: list[str] | None = None,
    group_by: str = "",
    notes: Sequence[str] = (),
    progress: bool = False,
    failed: MutableMapping[str, str] | None = None,
    logs: Path | None = None,
) -> Calibration:
    """Run the detector on healthy cases and collect voxels and scores; ``failed`` gets case and
    reason of those that cannot be used.

    Raises:
        InputError: none can be used.
    """
    voxels, scores, noted, used = ScoreHistogram(), [], list(notes), []
    errors: dict[str, Exception] = {}
    for case, volume, analysis in _analyses(
        detector, cases, channels, "calibrating", errors, progress=progress
    ):
        inside = analysis.inside
        if not case.healthy:
            inside = inside & ~_touched(volume, analysis.prepared)
        voxels.add(analysis.map[inside])
        used.append(case)
        if case.healthy:
            scores.append(analysis.score)
    if not used:
        refuse(errors, "calibrated with", logs)
    reasons = {case: told(error, logs, case) for case, error in errors.items()}
    noted += [f"left out: {case}: {reason}" for case, reason in reasons.items()]
    if failed is not None:
        failed.update(reasons)
    if groups is not None:
        groups = [group for group, case in zip(groups, cases, strict=True) if case.case not in errors]
    if lesion_free and len(scores) < len(used):
        noted.append(
            "voxel thresholds from lesion-free slices of diseased cases; these give no case scores, so p-values need healthy cases"
        )
        scores, groups = [], None
    score = detector.question.score.score
    return Calibration.from_healthy(
        voxels,
        scores,
        groups=groups,
        group_by=group_by,
        data_hash=config_hash([case.content_hash(list(case.channels)) for case in used]),
        notes=noted,
        probability=isinstance(score, MapsProbability) and score.probability,
    )


def _touched(volume: Volume, prepared: Volume) -> NDArray[np.bool]:
    """Voxels of the scan, shape (D, H, W), that lie in prepared slices with lesion voxels."""
    from aberra.prepare import back

    slices = np.zeros(prepared.shape, dtype=np.float32)
    if prepared.lesion is not None:
        slices[prepared.lesion.any(axis=(1, 2))] = 1
    return back(slices, prepared, volume, order=0) > 0


def _best_dice(
    detector: Detector,
    cases: Sequence[Case],
    channels: Sequence[str] | None,
    *,
    progress: bool,
    failed: MutableMapping[str, str],
    logs: Path | None,
) -> float:
    """Threshold of the best pooled Dice on cases with truth (Baur et al. 2021, arXiv 2004.03271)."""
    histogram = VoxelHistogram()
    errors: dict[str, Exception] = {}
    for _, volume, analysis in _analyses(detector, cases, channels, "threshold", errors, progress=progress):
        truth = np.zeros(volume.shape, dtype=bool) if volume.lesion is None else volume.lesion
        judged = analysis.inside | truth
        histogram.add(analysis.map[judged], truth[judged])
    failed.update({case: told(error, logs, case) for case, error in errors.items()})
    best = histogram.curve().best_threshold
    if best is None:
        raise CalibrationError("--lesions: no case of the manifest has lesion voxels")
    return best


def _analyses(
    detector: Detector,
    cases: Sequence[Case] | Cohort,
    channels: Sequence[str] | None,
    title: str,
    errors: dict[str, Exception],
    *,
    progress: bool,
) -> Iterator[tuple[Case, Volume, Analysis]]:
    """Yield each case with its scan and analysis; ``errors`` gets what came of the others."""
    from rich.progress import track

    for case in track(list(cases), description=title, disable=not progress):
        try:
            volume = detector.read(case, channels)
            analysis = detector.analyse(volume)
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            errors[case.case] = error
        else:
            yield case, volume, analysis


def _for_calibration(cohort: Cohort) -> list[Case]:
    """Prefer the splits made for it; never the training split."""
    splits = {case.split for case in cohort}
    preferred = next((split for split in ("calibration", "val") if split in splits), None)
    return [case for case in cohort if (case.split == preferred if preferred else case.split != "train")]
