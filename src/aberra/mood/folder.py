"""Cases of a challenge as files: scan, mask, record and, as the challenge hands them out, labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra import __version__
from aberra.cohort import Case
from aberra.cohort.inputs import inputs_of
from aberra.errors import InputError, OutputError, shortlist
from aberra.files import link, read_json, reading, write_json, write_text
from aberra.mood.anomaly import Anomaly, draw
from aberra.mood.apply import apply
from aberra.mood.scan import Scan
from aberra.output import check_names
from aberra.synthesis.folder import write_files, write_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aberra.cohort import Cohort
    from aberra.mood.apply import Made
    from aberra.mood.taxonomy import Subclass
    from aberra.volume import Volume

ATTEMPTS = 8
"""How often an anomaly is drawn anew that cannot be seen."""

VISIBLE = 0.02
"""Mean absolute change from which an anomaly counts as one; that of toys may be nothing at all."""

PIXEL, SAMPLE = "pixel", "sample"
"""The challenge's tasks: where, and whether."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A case to be written.

    Attributes:
        name: of the case.
        case: the healthy scan that it is made of.
        key: what its randomness depends on, besides the seed.
        subclass: of the anomaly; None for a healthy case.
        at_middle: radius and intensity of a toy at the middle of the foreground; nothing is drawn.
        groups: further columns of the manifest.
        label: what the manifest says; None is the truth.
    """

    name: str
    case: Case
    key: int
    subclass: Subclass | None = None
    at_middle: tuple[float, float] | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    label: int | None = None


def write_items(
    folder: Path,
    items: Sequence[Item],
    settings: Mapping[str, Any],
    *,
    used: Cohort,
    channel: str,
    seed: int,
    images: Sequence[str] = (),
    masks: Sequence[str] = (),
    workers: int = 2,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Write the cases that are missing and return the records of all, in order.

    Raises:
        OutputError: the folder holds something else, or what is read.
        InputError: a scan, picture or mask cannot be used.
    """
    check_names(item.name for item in items)
    jobs = {
        item.name: partial(_write, folder, item, channel=channel, seed=seed, images=images, masks=masks)
        for item in items
    }
    identity = {
        "kind": "mood", "channel": channel, "seed": seed, "version": __version__,
        "scans": used.data_hash([channel]), **settings,
    }  # fmt: skip
    return write_folder(
        folder, identity, jobs, title="mood", inputs=[*inputs_of(used), *map(Path, (*images, *masks))],
        workers=workers, progress=progress,
    )  # fmt: skip


def _write(
    folder: Path, item: Item, *, channel: str, seed: int, images: Sequence[str], masks: Sequence[str]
) -> None:
    """Write one case; its JSON comes last and marks it as done."""
    scan = _scan(item.case, channel)
    anomaly, made = None, None
    if item.subclass is not None:
        anomaly, made = _drawn(item, item.subclass, scan, seed, images=images, masks=masks)
    volume = made.volume if made else scan.volume
    label = int(made is not None)
    record = {
        "case": item.name,
        "patient": item.case.patient,
        "label": label if item.label is None else item.label,
        "files": write_files(folder, item.name, volume),
        "range": list(scan.range),
        "channel": channel,
        "source": {
            name: str(path.absolute())
            for name, path in item.case.files.items()
            if name in {channel, "mask", "labels"}
        },
        "anomaly": anomaly.to_json() if anomaly else None,
        "groups": {**item.case.groups, "split": item.case.split or ""} | _told(item, made) | {**item.groups},
    }
    write_json(folder / f"{item.name}.json", record)


def _scan(case: Case, channel: str) -> Scan:
    return Scan.of(case.read([channel]), case.labels)


def _told(item: Item, made: Made | None) -> dict[str, str]:
    """What the manifest says of an anomaly; the columns are there for healthy cases, too."""
    columns = ("category", "subclass", "scope", "size_mm", "contrast", "difficulty")
    if made is None or item.subclass is None:
        return dict.fromkeys(columns, "")
    kind = item.subclass
    measured = (f"{made.size_mm:.2f}", f"{made.contrast:.4f}", f"{made.difficulty:.4f}")
    return dict(zip(columns, (kind.category, kind.name, kind.scope, *measured), strict=True))


def _drawn(
    item: Item, subclass: Subclass, scan: Scan, seed: int, **files: Sequence[str]
) -> tuple[Anomaly, Made]:
    """Draw an anomaly and put it in; anew where it cannot be seen.

    Raises:
        InputError: it can never be seen.
    """
    if item.at_middle is not None:
        radius, intensity = item.at_middle
        fixed = Anomaly(subclass=subclass.name, centre=_middle(scan), radius_mm=radius, amount=intensity)
        return fixed, apply(scan, fixed)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, item.key, 21, attempt])
        anomaly = draw(subclass, scan, rng, **files)
        made = apply(scan, anomaly)
        if np.any(made.volume.lesion) and (made.contrast >= VISIBLE or subclass.family == "toy"):
            return anomaly, made
    raise InputError(
        f"{item.case.case}: no anomaly of '{subclass.name}' can be seen in it; leave the case out"
    )


def _middle(scan: Scan) -> tuple[int, int, int]:
    """The voxel of the foreground that is nearest to its centre of mass."""
    places = np.argwhere(scan.inside)
    away = (places - places.mean(axis=0)) * scan.volume.spacing
    d, h, w = places[(away**2).sum(axis=1).argmin()].tolist()
    return d, h, w


def replayed(record: Path) -> Volume:
    """Make a case's scan again from its JSON and the healthy scan that is named there: the bytes of
    its file.

    Args:
        record: ``<case>.json`` of a folder that :func:`aberra.mood.make.make_set` wrote.

    Raises:
        InputError: this is no such file, or the scan is not what it was.
        ConfigError: a subclass that there is not.
    """
    try:
        with reading(record):
            content = read_json(record)
        channel, files = content["channel"], content["source"]
        paths = {name: record.parent / path for name, path in files.items()}
        anomaly = Anomaly.from_json(content["anomaly"]) if content["anomaly"] else None
        case = Case(
            case=content["case"],
            patient=content["patient"],
            channels={channel: paths[channel]},
            mask=paths.get("mask"),
            labels=paths.get("labels"),
            label=0,
        )
        scan = _scan(case, channel)
        if list(scan.range) != content["range"]:
            raise InputError(f"{record}: {paths[channel]} is no longer the scan that the case was made of")
        return apply(scan, anomaly).volume if anomaly else scan.volume
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{record}: no record of a case ({error}); expected <case>.json as `aberra mood make` wrote it"
        ) from error


def write_challenge(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Lay the cases out as the challenge does: ``toy/<id>.nii.gz``, ``toy_label/pixel/<id>.nii.gz``
    and ``toy_label/sample/<id>.nii.gz.txt``, which is 0 or 1.

    Scans and masks are hard links to the cohort's files, or copies where there are no links. These
    folders have no mark of aberra's, since containers take every file in ``toy`` for a scan.

    Raises:
        OutputError: something else is in these folders.
    """
    names = {f"{record['case']}.nii.gz" for record in records}
    places = {"toy": folder / "toy"} | {task: folder / "toy_label" / task for task in (PIXEL, SAMPLE)}
    for task, place in places.items():
        _refuse_others(place, {f"{name}.txt" for name in names} if task == SAMPLE else names)
    for record in records:
        name = f"{record['case']}.nii.gz"
        scan = folder / record["files"][record["channel"]]
        link(scan, places["toy"] / name)
        if "lesion" in record["files"]:
            link(folder / record["files"]["lesion"], places[PIXEL] / name)
        else:
            _empty_like(scan, places[PIXEL] / name)
        write_text(places[SAMPLE] / f"{name}.txt", f"{int(record['anomaly'] is not None)}\n")


def _refuse_others(place: Path, names: Collection[str]) -> None:
    """Refuse a folder that holds more than these files."""
    others = sorted({each.name for each in place.iterdir()} - {*names}) if place.is_dir() else []
    if others:
        raise OutputError(f"{place}: holds {shortlist(others)}, which aberra did not write; move them away")


def _empty_like(scan: Path, target: Path) -> None:
    """A mask of zeros on the scan's voxels."""
    from aberra.volume import Volume

    volume = Volume.read(scan)
    volume.with_(data=np.zeros_like(volume.data)).write(target)
