"""Edit every case of a cohort, resumable; with masks the edited scans are a cohort of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.cohort.inputs import inputs_of, keep_out
from aberra.diffusion.guidance import GUIDES
from aberra.errors import ConfigError, OutputError, expect_known
from aberra.failures import refuse, told
from aberra.files import config_hash, read_json, refuse_foreign
from aberra.output import check_held, check_names, claim, kind_of
from aberra.workflows.edit import Aim, edit, edited_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.cohort import Case, Cohort
    from aberra.detector import Detector
    from aberra.volume import Volume


def edit_cohort(
    detector: Detector,
    cohort: Cohort,
    *,
    out: Path,
    towards: str | None = None,
    area: float | str | None = None,
    age: float | str | None = None,
    mask: Path | None = None,
    draw: int | None = None,
    radius_mm: tuple[float, float] = (6.0, 15.0),
    weights: Sequence[str] = (),
    channels: Sequence[str] | None = None,
    progress: bool = False,
    failed: dict[str, str] | None = None,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Edit every case of a cohort into ``out/<case>/``; finished cases are kept, so an interrupted
    run goes on.

    A case that fails does not stop the others; the traceback of what nobody foresaw goes to
    ``out/logs/<case>.log``. With masks, ``out/manifest.csv`` lists the edited scans with their
    lesions, as data to train or test with.

    Args:
        detector: as for :func:`edit`.
        cohort: the cases.
        out: folder of the edits.
        towards: class to edit towards.
        area: lesion area to edit towards, or ``up`` or ``down``.
        age: years to edit towards, or ``up`` or ``down``.
        mask: file of a mask; only for a single case.
        draw: draw a mask for each case instead, from this seed.
        radius_mm: smallest and largest mean radius of drawn masks.
        weights: ``guide=number`` each.
        channels: manifest columns to read, in the model's order.
        progress: show a progress bar.
        failed: gets case and reason of those that fail; without it they are an error when all
            others are done.
        options: of :func:`edit`.

    Returns:
        What each case attained.

    Raises:
        OutputError: ``out`` holds edits of another model or other settings, something else, or a
            scan.
        InputError: lists the cases that failed, unless ``failed`` takes them.
        ConfigError: no aim, or a mask for several cases.
    """
    from rich.progress import track

    from aberra.io import input_hash

    strengths = _weights(weights)
    if mask is not None and (draw is not None or len(cohort) > 1):
        raise ConfigError("--mask is of one scan; for several use --draw")
    fixed = [
        Aim(guide=guide, target=target, weight=strengths.get(guide))
        for guide, target in (("class", towards), ("area", area), ("age", age))
        if target is not None
    ]
    settings = [
        towards,
        _plain(area),
        input_hash(mask) if mask else None,
        draw,
        list(radius_mm),
        strengths,
        options,
    ]
    if age is not None:
        settings.append(_plain(age))
    identity = config_hash([detector.identity["fingerprint"], settings])
    check_names((case.case for case in cohort), ("manifest.csv", "logs"))
    keep_out(out, [*inputs_of(cohort), *([mask] if mask else [])])
    claim(
        out,
        "edits",
        identity=identity,
        other="edits of another model or other settings are there; choose another --out",
        replace=not any(kind_of(path.parent) == "case" for path in out.glob("*/edit.json")),
        about={"model": detector.identity},
    )
    errors: dict[str, Exception] = {}
    for number, case in enumerate(track(list(cohort), "editing", disable=not progress)):
        aims = list(fixed)
        if mask is not None or draw is not None:
            wanted = mask if draw is None else (draw, number, radius_mm)
            aims.append(Aim(guide="mask", target=wanted, weight=strengths.get("mask")))
        try:
            _edit_case(detector, case, aims, out, channels=channels, identity=identity, **options)
        except ConfigError:  # of the command, not of the case
            raise
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            errors[case.case] = error
            if failed is not None:
                failed[case.case] = told(error, out, case.case)
    done = [case for case in cohort if case.case not in errors]
    if done and (mask is not None or draw is not None):
        _write_manifest(out, done, list(channels or detector.channels), aged=age is not None)
    if failed is None:
        refuse(errors, "edited", out)
    return {case.case: read_json(out / case.case / "edit.json") for case in done}


def _edit_case(
    detector: Detector,
    case: Case,
    aims: Sequence[Aim],
    out: Path,
    *,
    channels: Sequence[str] | None,
    identity: str,
    **options: Any,
) -> None:
    """Edit a case and save it, unless it is finished; a mask is a file, or the seed, number and
    radius of a drawn one.
    """
    from aberra.io import read_mask

    folder = out / case.case
    refuse_foreign(folder)
    source = detector.content_hash(case, channels)
    if (folder / "edit.json").is_file():
        if read_json(folder / "input.json")["sha256"] != source:
            raise OutputError(f"{folder}: an edit of another scan is there; choose another --out")
        return
    volume = detector.read(case, channels)
    drawn = []
    for aim in aims:
        target = aim.target
        if isinstance(target, tuple):
            seed, number, radius = target
            target = drawn_lesion(volume, np.random.default_rng([seed, number]), radius)
        elif aim.guide == "mask":
            target = read_mask(target, volume)
        drawn.append(replace(aim, target=target))
    edited = edit(detector, volume, drawn, **options)
    if edited.lesion is not None and volume.lesion is not None:  # its own are still there
        edited = replace(edited, lesion=edited.lesion | volume.lesion)
    check_held(out, identity)
    replace(edited, source=source).save(folder)


def _plain(target: float | str | None) -> float | str | None:
    """A number whether it came as text or not; a direction, or what is refused later, as it is."""
    try:
        return None if target is None else float(target)
    except ValueError:
        return target


def _weights(settings: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for setting in settings:
        guide, _, number = setting.partition("=")
        expect_known("guide in --weight", [guide], GUIDES)
        try:
            found[guide] = float(number)
        except ValueError as error:
            raise ConfigError(f"--weight {setting}: expected guide=number, as in mask=3") from error
    return found


def drawn_lesion(
    volume: Volume, rng: np.random.Generator, radius_mm: tuple[float, float]
) -> NDArray[np.bool]:
    """A lesion mask (D, H, W) of the phantoms' shapes, ellipsoid or blob, somewhere in the
    foreground; the radius is a range in mm.
    """
    from aberra.synthesis import draw_lesion, plant

    clean = volume.with_(lesion=None)
    parameters = draw_lesion(clean, rng, shapes=("ellipsoid", "blob"), radius_mm=radius_mm)
    return np.asarray(plant(clean, parameters)[0].lesion)


def _write_manifest(out: Path, cohort: Sequence[Case], channels: Sequence[str], *, aged: bool) -> None:
    """Write the manifest of the edits; what a person's age is after an edit of it nobody knows."""
    from aberra.synthesis.folder import write_manifest

    def record(case: Case) -> dict[str, Any]:
        files = {channel: f"{case.case}/{edited_file(channel, channels)}" for channel in channels}
        files["lesion"] = f"{case.case}/lesion.nii.gz"
        groups = {name: value for name, value in case.groups.items() if not (aged and name == "age")}
        return {"case": case.case, "patient": case.patient, "files": files, "groups": groups, "label": 1}

    write_manifest(out, [record(case) for case in cohort])
