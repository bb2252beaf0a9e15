"""What is known of the test cases: labels in the challenge's layout, or a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.cohort import Cohort
from aberra.cohort.table import SUFFIXES as TABLES
from aberra.cohort.table import read_table
from aberra.errors import InputError, ManifestError
from aberra.files import reading

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.volume import Volume

Task = Literal["sample", "pixel"]

ENDS = {"sample": ".nii.gz.txt", "pixel": ".nii.gz"}
"""How the challenge's files of a case end, labels and predictions alike."""

FACTS = "labels.csv"
"""Optional table beside the challenge's labels: ``case`` and what is known of each."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One test case.

    Attributes:
        case: its name.
        patient: whom it is of; the case itself where nothing is known.
        label: 1 anomalous, 0 healthy; None until the voxels of ``lesion`` are read.
        lesion: file of the truth; None of a healthy case of a manifest.
        scan: file on whose voxels predictions lie; None in the challenge's layout, where the truth
            has them.
        facts: other columns by name (``category``, ``size_mm``, ...).
    """

    case: str
    patient: str
    label: int | None = None
    lesion: Path | None = None
    scan: Path | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def read(self) -> tuple[NDArray[np.bool], Volume | None]:
        """The truth (D, H, W), rounded to 0 and 1, and the scan whose axis order it has; None in the
        challenge's layout.

        Raises:
            InputError: it cannot be read.
        """
        from aberra.io import read
        from aberra.io import read_mask as mask_of

        if self.scan is None:
            return np.rint(read(str(self.lesion)).data[0]) >= 1, None
        scan = read(self.scan)
        if self.lesion is None:
            return np.zeros(scan.shape, bool), scan
        return mask_of(self.lesion, scan), scan


def read_truths(labels: Path, task: Task, *, split: str | None = None) -> tuple[list[Truth], list[str]]:
    """The test cases, by name, and what was left out.

    Args:
        labels: a folder with ``pixel/<case>.nii.gz`` and ``sample/<case>.nii.gz.txt``, or a manifest.
        task: ``sample`` or ``pixel``.
        split: only this split of a manifest.

    Raises:
        InputError: there are no labels.
        ManifestError: the manifest, or ``labels.csv``, has problems.
    """
    if labels.suffix.lower() in TABLES:
        return _of_manifest(Cohort.read(labels).select(split=split), task)
    found = _of_challenge(labels, task)
    if not found:
        raise InputError(
            f"{labels}: no labels of the {task} task; expected {task}/<case>{ENDS[task]} in it, or a manifest (CSV)"
        )
    return found, []


def _of_challenge(folder: Path, task: Task) -> list[Truth]:
    with reading(folder):
        files = sorted((folder / task).glob(f"*{ENDS[task]}"))
    facts = _facts(folder / FACTS)
    found = []
    for path in files:
        case = path.name.removesuffix(ENDS[task])
        known = facts.get(case, {})
        label = _label(path) if task == "sample" else None
        lesion = path if task == "pixel" else None
        found.append(
            Truth(case=case, patient=known.get("patient", case), label=label, lesion=lesion, facts=known)
        )
    return found


def _label(path: Path) -> int:
    """The label on a file's first line."""
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    if text not in {"0", "1"}:
        raise InputError(f"{path}: '{text[:40]}' is no label; expected 0 (healthy) or 1")
    return int(text)


def _facts(path: Path) -> dict[str, dict[str, str]]:
    """Case to column to value; empty where there is no such table."""
    if not path.is_file():
        return {}
    problems: list[str] = []
    _, rows = read_table(path, "case", problems)
    if problems:
        raise ManifestError(path, problems)
    return {row["case"]: {name: value for name, value in row.items() if value} for _, row in rows}


def _of_manifest(cohort: Cohort, task: Task) -> tuple[list[Truth], list[str]]:
    """Every case, but for diseased ones that nobody has outlined where voxels are judged."""
    cases = sorted(cohort, key=lambda case: case.case)
    usable = [case for case in cases if task == "sample" or case.healthy or case.lesion is not None]
    if not usable:
        raise InputError(f"{cohort.source}: no case with truth; expected columns 'label' or 'lesion'")
    left = len(cases) - len(usable)
    notes = [f"{left} anomalous case(s) without a lesion mask left out"] if left else []
    return [
        Truth(
            case=case.case,
            patient=case.patient,
            label=int(not case.healthy),
            lesion=case.lesion,
            scan=next(iter(case.channels.values())),
            facts=case.groups,
        )
        for case in usable
    ], notes
