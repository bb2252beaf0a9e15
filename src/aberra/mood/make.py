"""Sets of a challenge: to develop on and to test on, sweeps of size and contrast, and training scans
of which some are not healthy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.cohort import Cohort
from aberra.cohort.manifest import expect_cohort
from aberra.cohort.splits import split_by_patient
from aberra.errors import ConfigError, InputError, expect_known
from aberra.files import config_hash, file_hash
from aberra.mood.folder import Item, write_challenge, write_items
from aberra.mood.pictures import pictures
from aberra.mood.taxonomy import chosen, taxonomy
from aberra.synthesis.folder import spread, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case
    from aberra.mood.taxonomy import Family

SCANS_OF = {"toy": "val", "train": "train", "validation": "val", "test": "test"}
"""The split whose healthy scans a family's anomalies are put into."""

FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Splits of a cohort that says none, by patient."""

Sweep = Literal["radius", "contrast"]
RADII_MM = tuple(float(each) for each in range(0, 81, 5))
"""Radii of the sweep of size; 0 is a healthy scan.

Deviation: the thesis has 0 to 80 voxels in brains and does not say how large these are; here a voxel
counts as a millimetre."""

INTENSITIES = tuple(round(0.05 * step, 2) for step in range(21))
"""Intensities of the sweep of contrast."""

SWEEP_INTENSITY, SWEEP_RADIUS_MM = 0.9, 15.0
"""What stays the same in a sweep of the other."""


@dataclass(frozen=True, kw_only=True)
class Set:
    """What was written.

    Attributes:
        manifest: of the cohort.
        manifests: those of contaminated training scans, by the share that is not healthy.
        cases: how many.
        notes: what was left out, and why.
    """

    manifest: Path
    cases: int
    manifests: dict[float, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_set(
    cohort: Cohort,
    folder: Path | str,
    *,
    family: Family = "test",
    seed: int = 0,
    anomalous: float = 0.5,
    channel: str | None = None,
    cases: int | None = None,
    only: Sequence[str] = (),
    images: Path | None = None,
    masks: Path | None = None,
    challenge: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> Set:
    """Write a set: healthy scans with intensities in [0, 1], a share of which has one anomaly each.

    After the challenge MOOD (Zimmerer et al. 2022): half of the cases healthy, as many of each
    subclass. The anomalies of a family are in no other family, and its scans are those of one split
    of the cohort, so that nothing of a test set is in a training set. A case is a scan, and a scan
    one case; an interrupted call is completed by the same call.

    Args:
        cohort: healthy scans; other cases are left out. One that says no splits is split by patient
            (60, 20 and 20 %).
        folder: of the cohort that is written.
        family: whose anomalies.
        seed: the same seed gives the same bytes.
        anomalous: share of cases with an anomaly.
        channel: manifest column to read; needed where there are several.
        cases: at most so many scans are used.
        only: categories or subclasses.
        images: folder of pictures.
        masks: folder of lesion masks.
        challenge: also lay the cases out as the challenge does.
        workers: most processes.
        progress: show a progress bar.

    Raises:
        ConfigError: no healthy scan of the split, an unknown name, or too few scans for the
            subclasses.
        InputError: a scan, picture or mask cannot be used.
        OutputError: the folder holds something else, or what is read.
    """
    scans, channel = _healthy(cohort, SCANS_OF[_known(family)], channel)
    if not 0 <= anomalous <= 1 or (cases is not None and cases < 1):
        raise ConfigError(
            f"mood: anomalous={anomalous:g}, cases={cases}; expected a share in [0, 1], 1 or more"
        )
    order = np.random.default_rng([seed, 20]).permutation(len(scans))[:cases]
    shapes, found = _files(masks), pictures(images) if images is not None else ()
    drawn, notes = chosen(family, given=_given(scans, images, masks), only=only)
    used, ill = _counts(len(order), anomalous, [each.name for each in drawn])
    if used < len(order):
        notes.append(
            f"{len(order) - used} of {len(order)} scans not used: {ill} anomalies are as many of each of {len(drawn)} subclasses"
        )
    items, number = [], 0
    for index in range(used):
        is_ill = spread(index, used, ill / used)
        case = scans[int(order[index])]
        kind = drawn[number % len(drawn)] if is_ill else None
        items.append(Item(name=case.case, case=case, key=index, subclass=kind))
        number += is_ill
    settings = {
        "family": family, "anomalous": anomalous, "cases": cases, "only": list(only),
        "subclasses": [each.name for each in drawn],
        "images": _content(found), "masks": _content(shapes), "labels": _maps(scans, [each.needs for each in drawn]),
    }  # fmt: skip
    records = write_items(
        Path(folder), items, settings, used=Cohort([item.case for item in items], cohort.source), channel=channel,
        seed=seed, images=found, masks=shapes, workers=workers, progress=progress,
    )  # fmt: skip
    if challenge:
        write_challenge(Path(folder), records)
    return Set(manifest=write_manifest(Path(folder), records), cases=len(records), notes=notes)


def sweep_set(
    cohort: Cohort,
    folder: Path | str,
    *,
    sweep: Sweep,
    family: Family = "test",
    seed: int = 0,
    channel: str | None = None,
    cases: int | None = None,
    challenge: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> Set:
    """Write each scan many times with a toy sphere at the middle of its foreground: of every radius
    in :data:`RADII_MM`, or of every intensity in :data:`INTENSITIES`.

    The manifest says ``radius_mm`` and ``intensity``. A sphere ends where the foreground does. For
    curves of average precision against size and contrast (Zimmerer et al. 2022, figures of the
    toy set).

    Args:
        cohort: as for :func:`make_set`.
        folder: of the cohort that is written.
        sweep: what changes.
        family: whose scans; the anomaly is a toy.
        seed: of the choice of scans.
        channel: manifest column to read.
        cases: at most so many scans are used, each for all values.
        challenge: also lay the cases out as the challenge does.
        workers: most processes.
        progress: show a progress bar.

    Raises:
        ConfigError: no healthy scan of the split, or an unknown name.
        InputError: a scan cannot be used.
        OutputError: the folder holds something else, or what is read.
    """
    expect_known("sweep", [sweep], ("radius", "contrast"))
    scans, channel = _healthy(cohort, SCANS_OF[_known(family)], channel)
    order = np.random.default_rng([seed, 20]).permutation(len(scans))[:cases]
    values = [(radius, SWEEP_INTENSITY) for radius in RADII_MM]
    if sweep == "contrast":
        values = [(SWEEP_RADIUS_MM, intensity) for intensity in INTENSITIES]
    used = [scans[int(index)] for index in order]
    items = [
        Item(
            name=f"{case.case}-{sweep}-{number:02d}",
            case=case,
            key=number,
            subclass=taxonomy()["sphere"] if radius else None,
            at_middle=(radius, intensity),
            groups={"sweep": sweep, "radius_mm": f"{radius:g}", "intensity": f"{intensity:g}"},
        )
        for case in used
        for number, (radius, intensity) in enumerate(values)
    ]
    records = write_items(
        Path(folder), items, {"sweep": sweep, "cases": cases, "family": family}, used=Cohort(used, cohort.source),
        channel=channel, seed=seed, workers=workers, progress=progress,
    )  # fmt: skip
    if challenge:
        write_challenge(Path(folder), records)
    return Set(manifest=write_manifest(Path(folder), records), cases=len(records))


def contaminated_set(
    cohort: Cohort,
    folder: Path | str,
    *,
    shares: Sequence[float],
    family: Family = "test",
    seed: int = 0,
    channel: str | None = None,
    cases: int | None = None,
    only: Sequence[str] = (),
    images: Path | None = None,
    masks: Path | None = None,
    workers: int = 2,
    progress: bool = True,
) -> Set:
    """Write training scans of which a share has anomalies and is labelled healthy all the same.

    ``manifest.csv`` has the healthy scans, ``contaminated-0.1.csv`` the same of which a tenth is
    replaced by its anomalous copy; each smaller share is part of each larger one. Column
    ``contaminated`` says the truth, ``label`` does not, and there is no column for masks. The
    scans of the split ``val`` come along and stay healthy, since a fit wants some.

    Args:
        cohort: as for :func:`make_set`; its splits ``train`` and ``val`` are used.
        folder: of the cohort that is written.
        shares: of the training scans, above 0 and below 1.
        family: whose anomalies.
        seed: the same seed gives the same bytes.
        channel: manifest column to read.
        cases: at most so many training scans are used.
        only: categories or subclasses.
        images: folder of pictures.
        masks: folder of lesion masks.
        workers: most processes.
        progress: show a progress bar.

    Raises:
        ConfigError: a share out of range or of less than a scan, no training scans, or an unknown
            name.
        InputError: a scan, picture or mask cannot be used.
        OutputError: the folder holds something else, or what is read.
    """
    scans, channel = _healthy(cohort, "train", channel)
    order = [int(each) for each in np.random.default_rng([seed, 20]).permutation(len(scans))[:cases]]
    counts = {share: round(share * len(order)) for share in sorted(shares)}
    if not shares or any(not 0 < share < 1 or not counts[share] for share in counts):
        raise ConfigError(
            f"mood: contamination of {', '.join(f'{each:g}' for each in shares) or 'nothing'} in {len(order)} training scans; expected shares between 0 and 1 that make at least one scan"
        )
    shapes, found = _files(masks), pictures(images) if images is not None else ()
    drawn, notes = chosen(_known(family), given=_given(scans, images, masks), only=only)
    try:
        others, _ = _healthy(cohort, "val", channel)
    except ConfigError:
        others = []
        notes.append("no healthy scan in split 'val': fits will have to do without one")
    used = [scans[index] for index in order]
    clean = {"contaminated": "0"}
    items = [Item(name=case.case, case=case, key=0, groups=clean) for case in (*used, *others)]
    items += [
        Item(
            name=f"{case.case}-anomalous",
            case=case,
            key=index,
            subclass=drawn[index % len(drawn)],
            groups={"contaminated": "1"},
            label=0,
        )
        for index, case in enumerate(used[: max(counts.values())])
    ]
    settings = {
        "contaminated": sorted(shares), "family": family, "cases": cases, "only": list(only),
        "subclasses": [each.name for each in drawn],
        "images": _content(found), "masks": _content(shapes), "labels": _maps(scans, [each.needs for each in drawn]),
    }  # fmt: skip
    records = write_items(
        Path(folder), items, settings, used=Cohort([*used, *others], cohort.source), channel=channel, seed=seed,
        images=found, masks=shapes, workers=workers, progress=progress,
    )  # fmt: skip
    # masks stay in the folder, but no manifest that calls these scans healthy names them
    for record in records:
        record["files"].pop("lesion", None)
    healthy, ill = records[: len(used) + len(others)], records[len(used) + len(others) :]
    manifests = {
        share: write_manifest(
            Path(folder), [*ill[:count], *healthy[count:]], name=f"contaminated-{share:g}.csv"
        )
        for share, count in counts.items()
    }
    manifest = write_manifest(Path(folder), healthy)
    return Set(manifest=manifest, manifests=manifests, cases=len(records), notes=notes)


def _known(family: Family) -> Family:
    expect_known("family of anomalies", [family], SCANS_OF)
    return family


def _healthy(cohort: Cohort, split: str, channel: str | None) -> tuple[list[Case], str]:
    """The healthy scans of a split, and the channel to read.

    Raises:
        ConfigError: there are none, or several channels to choose from.
    """
    expect_cohort(cohort)
    names = cohort.channel_names
    if channel is not None:
        expect_known("channel", [channel], names)
    elif len(names) != 1:
        raise ConfigError(f"{cohort.source}: channels {', '.join(names)}; choose one with --channel")
    wanted = channel or names[0]
    if not any(case.split for case in cohort):
        cohort = split_by_patient(cohort, FRACTIONS)
    found = [case for case in cohort if case.healthy and case.split == split and wanted in case.channels]
    if not found:
        there = sorted({case.split for case in cohort if case.split and case.healthy})
        raise ConfigError(
            f"{cohort.source}: no healthy scan of {wanted} in split '{split}'; healthy cases are in: {', '.join(there) or 'none'}"
        )
    return found, wanted


def _given(scans: Sequence[Case], images: Path | None, masks: Path | None) -> set[str]:
    """What there is of that which subclasses may need."""
    there = {
        "images": images is not None,
        "masks": masks is not None,
        "labels": all(case.labels is not None for case in scans),
    }
    return {name for name, given in there.items() if given}


def _counts(scans: int, share: float, names: Sequence[str]) -> tuple[int, int]:
    """How many scans are used, and how many of them get an anomaly: as many of each subclass.

    Raises:
        ConfigError: fewer anomalies than subclasses.
    """
    if not share:
        return scans, 0
    ill = int(scans * share + 1e-9) // len(names) * len(names)
    if not ill:
        raise ConfigError(
            f"mood: {scans} scans, of which {share:g} get an anomaly, are too few for {len(names)} subclasses ({', '.join(names)}); choose some with --only, or give more scans"
        )
    return min(scans, ill + round(ill * (1 - share) / share)), ill


def _files(masks: Path | None) -> tuple[str, ...]:
    """The NIfTI files of a folder, sorted.

    Raises:
        InputError: there is none.
    """
    if masks is None:
        return ()
    found = tuple(str(each) for each in sorted(masks.absolute().glob("*.nii*")))
    if not found:
        raise InputError(f"{masks}: no lesion mask here; expected NIfTI files (*.nii.gz)")
    return found


def _content(files: Sequence[str]) -> str:
    """Hash of the files' contents, in order; empty without files."""
    return config_hash([file_hash(each) for each in files]) if files else ""


def _maps(scans: Sequence[Case], needs: Sequence[str]) -> str:
    """Hash of the scans' tissue maps, if some subclass needs them."""
    return _content([str(case.labels) for case in scans]) if "labels" in needs else ""
