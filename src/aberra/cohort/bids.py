"""BIDS: a dataset of scans as a cohort, and the names that its derivatives have.

Source: Gorgolewski et al. 2016, The brain imaging data structure, Scientific Data 3, 160044;
bids-specification.readthedocs.io.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aberra.cohort.case import MAPS, Case
from aberra.errors import ManifestError, MismatchError, shortlist
from aberra.files import read_json, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from aberra.cohort.manifest import Cohort

DESCRIPTION = "dataset_description.json"
MISSING = {"", "n/a"}
KEPT_APART = {"case", "patient", "label", "split", *MAPS}
"""Columns that mean something in a manifest, and something else or nothing in BIDS."""


@dataclass(frozen=True)
class BidsName:
    """A file's name, taken apart.

    Attributes:
        entities: key to label in the name's order, as in ``{"sub": "01", "acq": "3d"}``.
        suffix: its last word, ``FLAIR`` or ``T1w``.

    Examples:
        >>> from pathlib import Path
        >>> from aberra.cohort.bids import BidsName
        >>> name = BidsName.of(Path("sub-01_acq-3d_FLAIR.nii.gz"))
        >>> name.entities["acq"], name.channel, name.derived("mask", desc="anomaly")
        ('3d', 'flair', 'sub-01_acq-3d_desc-anomaly_mask')
    """

    entities: dict[str, str]
    suffix: str

    @classmethod
    def of(cls, path: Path) -> BidsName | None:
        """Take a name apart; None where it is not one of BIDS."""
        *pairs, suffix = re.sub(r"\.nii(\.gz)?$", "", path.name).split("_")
        found = [re.fullmatch(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)", pair) for pair in pairs]
        entities = {match[1]: match[2] for match in found if match}
        plain = len(entities) == len(pairs) and re.fullmatch(r"[a-zA-Z0-9]+", suffix)
        return cls(entities, suffix) if plain and next(iter(entities), "") == "sub" else None

    @property
    def channel(self) -> str:
        """What the scan is, in the words of a manifest: ``flair``, ``t1``, ``t1ce``, ``t2`` ..."""
        name = self.suffix.lower()
        name = name.removesuffix("w")
        return "t1ce" if name == "t1" and "ce" in self.entities else name

    @property
    def session(self) -> str:
        """Person and session: ``sub-01_ses-2``."""
        return "_".join(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities)

    @property
    def variant(self) -> tuple[str, ...]:
        """What else tells it from other scans of the session: ``("acq-3d", "run-2")``."""
        return tuple(f"{key}-{each}" for key, each in self.entities.items() if key not in {"sub", "ses"})

    def derived(self, suffix: str, **more: str) -> str:
        """The name, without ending, of what is made of the scan."""
        return "_".join([*(f"{key}-{each}" for key, each in (self.entities | more).items()), suffix])


def dataset_of(path: Path) -> Path | None:
    """The raw BIDS dataset that a folder is, as an absolute path; None where it is none, or one of
    derivatives.
    """
    try:
        about = read_json(path / DESCRIPTION)
    except (OSError, ValueError):
        return None
    raw = isinstance(about, dict) and about.get("DatasetType", "raw") == "raw"
    return path.absolute() if raw else None


def read_bids(root: Path) -> tuple[list[Case], list[str]]:
    """Read a dataset: a case a session, a channel a sequence, and ``participants.tsv``.

    Of several scans of one sequence in a session (another run or acquisition) the one with the
    shortest name is the session's; each other is a case of its own, ``sub-01_ses-2_run-2``. Only
    anatomical scans are read.

    Returns:
        The cases, and what whoever reads the results should know.

    Raises:
        InputError: the folder cannot be read.
        ManifestError: ``participants.tsv`` is not a table of participants.
    """
    from aberra.io import find_scans

    warnings: list[str] = []
    scans: list[tuple[BidsName, Path]] = []
    others: list[str] = []
    for _, path in find_scans(root, warnings):
        name = BidsName.of(path)
        if name is not None and path.parent.name == "anat" and name.entities.get("part", "mag") == "mag":
            scans.append((name, path))
        else:
            others.append(str(path.relative_to(root)))
    if others:
        warnings.append(
            f"{root}: {len(others)} scan(s) that are not BIDS' anatomical ones left out ({shortlist(others)}); "
            "give them by themselves to have them scored"
        )
    people = _people(root)
    return [_case(name, channels, people) for name, channels in _grouped(scans).items()], warnings


def labelled(
    cohort: Cohort, participants: Sequence[str] | None = None, sessions: Sequence[str] | None = None
) -> Cohort:
    """The cases of a dataset with these labels, with or without ``sub-`` and ``ses-``; all without.

    Raises:
        MismatchError: a label that no case has.
    """
    cases = list(cohort)
    for prefix, wanted in (("sub-", participants), ("ses-", sessions)):
        if not wanted:
            continue
        labels = {label.removeprefix(prefix) for label in wanted}
        known = {_label(case, prefix) for case in cases}
        if missing := sorted(labels - known):
            raise MismatchError(
                f"{cohort.source}: no {prefix}{missing[0]}; there are: {shortlist(sorted(known - {''}))}"
            )
        cases = [case for case in cases if _label(case, prefix) in labels]
    return type(cohort)(cases, cohort.source, cohort.warnings)


def _label(case: Case, prefix: str) -> str:
    return case.patient.removeprefix(prefix) if prefix == "sub-" else case.groups.get("session", "")


def _grouped(scans: Iterable[tuple[BidsName, Path]]) -> dict[tuple[str, tuple[str, ...]], dict[str, Path]]:
    """Scans of each session, and of each further variant of it, by channel."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, Path]] = {}
    for name, path in sorted(scans, key=lambda scan: (scan[0].session, len(scan[0].variant), scan[1].name)):
        whole = found.setdefault((name.session, ()), {})
        home = whole if name.channel not in whole else found.setdefault((name.session, name.variant), {})
        home.setdefault(name.channel, path)
    return found


def _case(
    key: tuple[str, tuple[str, ...]], channels: dict[str, Path], people: dict[str, dict[str, str]]
) -> Case:
    session, variant = key
    patient, _, visit = session.partition("_ses-")
    groups = people.get(patient, {}) | ({"session": visit} if visit else {})
    return Case(case="_".join((session, *variant)), patient=patient, channels=channels, groups=groups)


def _people(root: Path) -> dict[str, dict[str, str]]:
    """What ``participants.tsv`` says of each participant; nothing where there is none."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    with reading(path, ManifestError), path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ManifestError(
                path, [f"not a table separated by tabs ({error}); save it as such"]
            ) from error
    if rows and "participant_id" not in rows[0]:
        raise ManifestError(path, ["expected a column 'participant_id'; the fields are separated by tabs"])
    return {row["participant_id"]: _facts(row) for row in rows if row["participant_id"]}


def _facts(row: dict[str, str]) -> dict[str, str]:
    facts = {
        str(key).lower(): value.strip()
        for key, value in row.items()
        if key and key != "participant_id" and isinstance(value, str) and value.strip().lower() not in MISSING
    }
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", facts.get("age", "0")):  # "89+" is no number of years
        del facts["age"]
    return {key: value for key, value in facts.items() if key not in KEPT_APART}
