"""BraTS-shaped folders to a cohort: central slices, clipped to [0, 1], tumour masks; split by
patient.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra import __version__
from aberra.cohort import Case, Cohort
from aberra.cohort.splits import split_by_patient
from aberra.errors import ConfigError, InputError
from aberra.files import MARK, write_json
from aberra.foreground import nonzero
from aberra.io import case_name, labels_of, read_case
from aberra.prepare.crop import Crop
from aberra.prepare.orient import Orient
from aberra.synthesis.folder import write_files, write_folder, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

CHANNELS = ("t1", "t1ce", "t2", "flair")
SEGMENTATION = "seg"
PERCENTILES = (1.0, 99.0)
"""Intensities below and above are clipped."""

CUT = 0.01
"""Share of the brain that cropping may lose before it is an error."""

LISTED = 10
"""Problems that an error lists; the others are counted."""


def brats_cohort(
    source: Path | str,
    folder: Path | str,
    *,
    channels: Sequence[str] = CHANNELS,
    size: int = 224,
    low: int = 80,
    high: int = 26,
    test: float = 0.1,
    val: float = 0.1,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Cut a folder of BraTS patients to a cohort of volumes and return its manifest; the source is
    not touched.

    A patient is a folder with one NIfTI a sequence, ``*_t1.nii.gz`` and so on, and
    ``*_seg.nii.gz``. It becomes one volume of shape (D, size, size), axes S, P, L, with
    ``<case>_<channel>.nii.gz`` in [0, 1], ``<case>_mask.nii.gz`` (brain), ``<case>_lesion.nii.gz``
    (label values of the tumour classes) and ``<case>.json``, which holds ``tumour_share``: tumour
    area over brain area, slice by slice. A slice is healthy where its lesion mask is empty. An
    interrupted call is completed by the same call.

    Args:
        source: folder of patients, at any depth.
        folder: of the cohort.
        channels: sequences, as the files' names end; BraTS 2023 has ``t1n, t1c, t2w, t2f``.
        size: in-plane edge in voxels, cropped or padded about the middle: 224 or 256 in the source.
        low: axial slices to drop at the bottom.
        high: axial slices to drop at the top.
        test: share of patients in split ``test``; the rest is ``train``.
        val: share of patients in split ``val``.
        seed: of the split.
        workers: most processes; little work is done by one.
        progress: show a progress bar.

    Raises:
        InputError: a folder lacks a file or has several of a kind (all such folders are named), a
            file cannot be used, no slice is left, or the crop would cut off brain.
        ConfigError: a number out of range.
        OutputError: the folder holds another cohort.

    Source: Wolleb 2022, chapters 5 and 7; ``tumour_share`` is chapter 8's target (arXiv
    2204.02641).

    Deviation: the thesis works on slices; ours stay volumes, of which 2-D models take the slices.
    Deviation: the thesis does not say over which voxels the percentiles are taken; here over the
    brain (not 0 in some channel) of the slices that are kept, channel by channel. Deviation: the
    thesis names no validation patients; a tenth of them is split off.
    """
    if not (test >= 0 and val >= 0 and test + val < 1 and size > 0 and low >= 0 and high >= 0):
        raise ConfigError(
            f"brats: test={test}, val={val}, size={size}, low={low}, high={high}; "
            "expected shares that leave patients to train, an edge above 0 and numbers of slices"
        )
    source, folder = Path(source), Path(folder)
    patients = find_patients(source, channels)
    settings = {
        "kind": "brats", "channels": [*channels], "size": size, "low": low, "high": high, "version": __version__,
        "patients": {
            name: {key: [path.name, path.stat().st_size] for key, path in files.items()}
            for name, files in patients.items()
        },
    }  # fmt: skip
    jobs = {
        name: partial(_write_case, folder, name, files, size=size, low=low, high=high)
        for name, files in patients.items()
    }
    inputs = [path for files in patients.values() for path in files.values()]
    records = write_folder(
        folder, settings, jobs, title="patients", inputs=inputs, workers=workers, progress=progress
    )
    shares = {"test": test, "val": val, "train": 1 - test - val}
    split = split_by_patient(
        Cohort(Case(case=name, patient=name, channels={}) for name in patients),
        {name: share for name, share in shares.items() if share},
        seed=seed,
    )
    placed = [record | {"groups": {"split": case.split}} for record, case in zip(records, split, strict=True)]
    return write_manifest(folder, placed, channels)


def find_patients(source: Path | str, channels: Sequence[str] = CHANNELS) -> dict[str, dict[str, Path]]:
    """Find patients by name: channel, or ``seg``, to file.

    Args:
        source: folder that is searched at any depth; each folder in it with NIfTI files is a
            patient.
        channels: sequences that each must have.

    Raises:
        InputError: no patient, or files that are missing or doubled; every such folder is named.
    """
    source = Path(source)
    found: dict[Path, list[Path]] = {}
    own = {path.parent for path in source.rglob(MARK)} - {
        source
    }  # a cohort that was written into the source is no patient
    for path in sorted(source.rglob("*.nii*")):
        if not path.name.startswith(".") and own.isdisjoint(path.parents):
            found.setdefault(path.parent, []).append(path)
    if not found:
        raise InputError(
            f"{source}: no folder with NIfTI files in here; expected one a patient with *_{channels[0]}.nii.gz and so on"
        )
    patients: dict[str, dict[str, Path]] = {}
    problems = []
    for folder, paths in found.items():
        files = {}
        for key in (*channels, SEGMENTATION):
            ending = re.compile(rf"(.*[_-])?{re.escape(key)}\.nii(\.gz)?", re.IGNORECASE)
            fitting = [path for path in paths if ending.fullmatch(path.name)]
            if len(fitting) == 1:
                files[key] = fitting[0]
            else:
                names = ", ".join(path.name for path in fitting)
                problems.append(
                    f"{folder}: {f'{len(fitting)} files for {key} ({names})' if names else f'no *_{key}.nii.gz'}"
                )
        inner = folder.relative_to(source)
        patients[case_name(inner if inner.parts else Path(source.resolve().name))] = files
    if problems:
        more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise InputError(
            f"{source}: {len(problems)} file(s) missing or doubled; rename or move them, leave those folders out, or name "
            "the sequences that all patients have with --channels\n  " + "\n  ".join(problems[:LISTED]) + more
        )
    return patients


def _write_case(folder: Path, name: str, files: dict[str, Path], *, size: int, low: int, high: int) -> None:
    """Cut, clip and write one patient; the JSON comes last and marks it as done."""
    place = files[SEGMENTATION].parent
    volume = Orient(to="SPL")(read_case(files))
    slices = volume.shape[0]
    if slices <= low + high:
        raise InputError(
            f"{place}: {slices} axial slices, of which {low} + {high} are to be dropped; give --low and --high that leave some"
        )
    shift = np.eye(4)
    shift[0, 3] = low
    volume = volume.with_(data=volume.data[:, low : slices - high], affine=volume.affine @ shift)
    brain = int(_brain(volume).sum())
    if not brain:
        raise InputError(f"{place}: no brain in the slices that are kept; give other --low and --high")
    volume = Crop(shape=[0, size, size], centre="grid")(volume)
    mask, (labels, note) = _brain(volume), labels_of(volume.data[-1], files[SEGMENTATION])
    if note:
        raise InputError(
            f"{files[SEGMENTATION]}: expected whole-numbered labels from 0 to 255; give the segmentation as it was released"
        )
    lesion = labels > 0
    lost = 1 - int(mask.sum()) / brain
    if lost > CUT:
        raise InputError(
            f"{place}: an edge of {size} voxels cuts off {lost:.1%} of the brain; give a larger --size"
        )
    channels = volume.channels[:-1]
    scaled = [_scaled(each, mask, files[key]) for key, each in zip(channels, volume.data[:-1], strict=True)]
    cut = volume.with_(data=np.stack(scaled), channels=channels, mask=mask, lesion=lesion, kinds=labels)
    record: dict[str, Any] = {
        "case": name,
        "patient": name,
        "label": int(lesion.any()),
        "source": {key: str(path) for key, path in files.items()},
        "slices": [low, slices - high],
        "tumour_share": (lesion.sum(axis=(1, 2)) / np.maximum(mask.sum(axis=(1, 2)), 1)).round(6).tolist(),
        "files": write_files(folder, name, cut),
    }
    write_json(folder / f"{name}.json", record)


def _brain(volume: Volume) -> NDArray[np.bool]:
    """Not 0 in some sequence; the last channel is the segmentation."""
    return nonzero(volume.data[:-1])


def _scaled(channel: NDArray[np.float32], mask: NDArray[np.bool], path: Path) -> NDArray[np.float32]:
    """Clip at the brain's percentiles and map them to [0, 1]; 0 outside."""
    bottom, top = np.percentile(channel[mask], PERCENTILES)
    if top <= bottom:
        raise InputError(
            f"{path}: constant in the brain; leave this patient out or export the sequence again"
        )
    return np.where(mask, np.clip((channel - bottom) / (top - bottom), 0, 1), 0).astype(np.float32)
