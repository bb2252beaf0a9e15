"""Where a map is cut into objects: a threshold that the cases which are judged have no say in."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from aberra.detector.calibration import Calibration, conformal_limit
from aberra.errors import CalibrationError, ConfigError, InputError, shortlist
from aberra.failures import refuse
from aberra.files import read_json, read_mark, reading
from aberra.metrics.objects import last_threshold
from aberra.metrics.voxel import VoxelHistogram
from aberra.result import Result
from aberra.workflows.evaluate import truth_of
from aberra.workflows.scores import finished_cases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aberra.cohort import Cohort

TOY, CONFORMAL, BY_HAND = "toy", "conformal", "by-hand"
"""Protocols of thresholds that are no calibration's."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold and where it is from.

    Attributes:
        protocol: of the calibration, :data:`TOY`, :data:`CONFORMAL` or :data:`BY_HAND`.
        value: voxels strictly above it are anomalous.
        note: what a reader must know; empty without.
    """

    protocol: str
    value: float
    note: str = ""


def threshold_of(
    results: Path,
    wanted: str | None,
    *,
    least_mm3: float,
    toy: Path | None,
    toy_truth: Cohort | None,
    healthy: Path | None,
    level: float,
    progress: bool,
) -> Threshold:
    """Find the threshold that is asked for, see :func:`aberra.workflows.objects.objects`.

    Raises:
        ConfigError: an unknown protocol, or cases to set it on that are missing, or not asked for.
        CalibrationError: too few healthy cases for the level.
        InputError: the cases to set it on are judged, too, are results of another detector, or have
            no lesion.
    """
    if (wanted == TOY) != (toy is not None) or (toy is None) != (toy_truth is None):
        raise ConfigError(
            "threshold toy needs a folder of results of planted lesions and their manifest (--toy, --toy-truth); no other threshold takes them"
        )
    if (wanted == CONFORMAL) != (healthy is not None):
        raise ConfigError(
            "threshold conformal needs a folder of results of healthy cases (--healthy); no other threshold takes one"
        )
    if toy is not None and toy_truth is not None:
        expect_others(toy, results)
        return Threshold(protocol=TOY, value=_best_dice(toy, toy_truth, progress=progress))
    if healthy is not None:
        expect_others(healthy, results)
        limits = _limits(healthy, least_mm3, progress=progress)
        note = f"{len(limits)} healthy case(s): at most {level:.0%} of further ones have an object"
        return Threshold(protocol=CONFORMAL, value=conformal_limit(limits, level), note=note)
    try:
        value = float(wanted or "")
    except ValueError:
        return _calibrated(results, wanted)
    if not 0 <= value < inf:
        raise ConfigError(f"threshold {value:g}: expected a number of 0 or more")
    return Threshold(protocol=BY_HAND, value=value)


def _calibrated(results: Path, wanted: str | None) -> Threshold:
    """A protocol of the calibration that the results were made with; without a name the one that
    their masks are drawn with.
    """
    path = results / "calibration.json"
    with reading(path):
        try:
            calibration = Calibration.from_json(read_json(path))
        except FileNotFoundError as error:
            raise CalibrationError(f"{path}: not there; give a number as threshold") from error
        except (ConfigError, ValueError) as error:
            raise InputError(f"{path}: damaged ({error}); detect again") from error
    name = wanted or str((read_mark(results) or {}).get("protocol", calibration.default))
    protocol, value = calibration.threshold(name)
    return Threshold(protocol=protocol, value=value)


def expect_others(
    folder: Path, results: Path, why: str = "a threshold is set on other cases than those it judges"
) -> None:
    """Refuse cases that are judged themselves, or whose maps another detector made.

    Args:
        folder: results of what should be other cases.
        results: those that are judged.
        why: they should be.

    Raises:
        InputError: they are; says which.
    """
    there, here = _known(folder), _known(results)
    if not there:
        raise InputError(f"{folder}: no results; run `aberra detect` with the same detector first")
    both = [case for scan, (case, _) in there.items() if scan in here]
    if both:
        raise InputError(f"{folder}: {len(both)} case(s) are in {results}, too ({shortlist(both)}); {why}")
    models = {model for _, model in (*there.values(), *here.values())}
    if len(models) > 1:
        raise InputError(f"{folder}: results of another detector than {results}; detect with the same one")


def _known(folder: Path) -> dict[str, tuple[str, str]]:
    """Hash of each scan to its case and to the detector that made the map."""
    known = {}
    for name in finished_cases(folder):
        saved: Any = read_json(folder / name / "result.json")
        scan = saved["input"].get("sha256") or str((folder / name).resolve())
        known[scan] = name, str(saved["model"].get("fingerprint", ""))
    return known


def _results(folder: Path, title: str, *, progress: bool) -> Iterator[Result]:
    """Each case's result in turn."""
    from rich.progress import track

    for name in track(finished_cases(folder), description=title, disable=not progress):
        yield Result.load(folder / name)


def _best_dice(toy: Path, truth: Cohort, *, progress: bool) -> float:
    """The threshold of the best pooled Dice on cases with planted lesions."""
    known, failed = {case.case: case for case in truth}, dict[str, Exception]()
    histogram = VoxelHistogram()
    for result in _results(toy, "threshold", progress=progress):
        if result.case not in known:
            failed[result.case] = InputError(f"{result.case}: no row in {truth.source}")
            continue
        try:
            labels, judged = truth_of(known[result.case], result.map, {})
        except Exception as error:  # noqa: BLE001 - all of them are told at once
            failed[result.case] = error
            continue
        histogram.add(result.map.data[0][judged], labels[judged] > 0)
    refuse(failed, "set a threshold on")
    best = histogram.curve().best_threshold
    if best is None:
        raise InputError(f"{truth.source}: no case has lesion voxels; plant some with `aberra phantom`")
    return best


def _limits(healthy: Path, least_mm3: float, *, progress: bool) -> list[float]:
    """Of each healthy case the threshold from which on it has no object."""
    return [
        last_threshold(result.map.data[0], max(1, ceil(least_mm3 / result.map.voxel_mm3 - 1e-6)))
        for result in _results(healthy, "healthy cases", progress=progress)
    ]
