"""The manifest: one CSV row a case, one path column a channel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload
from unicodedata import normalize

from aberra.cohort.table import LONGEST, Rows, read_table
from aberra.cohort.table import SUFFIXES as TABLES
from aberra.errors import InputError, ManifestError, MismatchError
from aberra.files import config_hash
from aberra.volume import described, expect_path

if TYPE_CHECKING:
    from aberra.volume import Volume

MAPS = ("mask", "lesion", "lesion2", "ignore", "labels")
"""Columns of files on the scan's voxels that are no scans."""

RESERVED = ("case", "patient", *MAPS, "label", "site", "age", "sex", "split")
"""Columns with a meaning of their own; every other column that holds paths is a channel."""

SAFE = re.compile(r"[\w][\w.+-]*")
"""A case's name is also its folder's."""

LONGEST_NAME = 150
"""Bytes of a case's name: systems allow 255 for the names of files, which have it and more."""

OLDEST = 150
"""Years."""

SPLITS = ("train", "val", "calibration", "test")
"""Names of splits with a meaning; upper and lower case are the same."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a manifest.

    Attributes:
        case: unique name.
        patient: whom it is of; splits are by patient.
        channels: channel name to file, only those that are given.
        mask: brain or foreground mask.
        lesion: truth.
        lesion2: truth of a second rater; how far the two agree bounds what a method can reach.
        ignore: voxels that an evaluation does not judge.
        labels: tissue map.
        label: 0 healthy, 1 not; None if unknown.
        groups: the other columns' values by name (``site``, ``age``, ``sex``, ...), empty ones left out.
        split: ``train``, ``val``, ``calibration``, ``test`` or any other name.
        row: line of the manifest, the header being 1; 0 without a manifest.
    """

    case: str
    patient: str
    channels: dict[str, Path]
    mask: Path | None = None
    lesion: Path | None = None
    lesion2: Path | None = None
    ignore: Path | None = None
    labels: Path | None = None
    label: int | None = None
    groups: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    row: int = 0

    @property
    def healthy(self) -> bool:
        """Label 0, or no label and no lesion file."""
        return self.label == 0 or (self.label is None and self.lesion is None)

    @property
    def files(self) -> dict[str, Path]:
        """Every file that is given, by column."""
        maps = {name: getattr(self, name) for name in MAPS}
        return self.channels | {name: path for name, path in maps.items() if path is not None}

    def read(self, channels: Sequence[str] | None = None) -> Volume:
        """Read the channels asked for (all without), mask and truth included.

        Raises:
            MismatchError: a channel that the case does not have.
            InputError: a file cannot be used.
        """
        from aberra.io import read_case, read_labels, read_mask

        names = list(channels) if channels is not None else list(self.channels)
        for name in names:
            if name not in self.channels:
                raise MismatchError(f"{self.case}: no channel '{name}'; it has {', '.join(self.channels)}")
        volume = read_case({name: self.channels[name] for name in names})
        warnings = [*volume.provenance.get("warnings", [])]
        labels = None if self.lesion is None else read_labels(self.lesion, volume, warnings)
        return volume.with_(
            mask=None if self.mask is None else read_mask(self.mask, volume, warnings),
            lesion=None if labels is None else labels > 0,
            kinds=labels,
            provenance={**volume.provenance, "case": self.case, "warnings": warnings},
        )

    def content_hash(self, channels: Sequence[str] | None = None) -> str:
        """Hash of all bytes that :meth:`read` would read; what cannot be read has none, and reading it says why."""
        from aberra.io import input_hash

        names = list(channels) if channels is not None else list(self.channels)
        files = [self.channels[name] for name in names if name in self.channels]
        parts = [input_hash(file) for file in (*files, self.mask, self.lesion) if file is not None]
        return config_hash([names, parts, self.mask is None, self.lesion is None])


class Cohort(Sequence[Case]):
    """Cases that belong together.

    Args:
        cases: in order.
        source: where they come from, for messages.
        warnings: what whoever reads the results should know of how they were found.
    """

    def __init__(
        self, cases: Iterable[Case], source: Path | str = "cohort", warnings: Iterable[str] = ()
    ) -> None:
        self.cases = tuple(cases)
        self.source = source
        self.warnings = tuple(warnings)
        for each in self.cases:
            if not isinstance(each, Case):
                raise InputError(
                    f"Cohort: expected cases, got {described(each)}; as in Cohort.from_paths(paths)"
                )

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Cohort: ...
    def __getitem__(self, index: int | slice) -> Case | Cohort:
        """A case, or a cohort of several."""
        if isinstance(index, slice):
            return Cohort(self.cases[index], self.source, self.warnings)
        return self.cases[index]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Every channel that some case has, in order of first appearance."""
        return tuple(dict.fromkeys(name for case in self for name in case.channels))

    @property
    def common_channels(self) -> tuple[str, ...]:
        """Every channel that all cases have."""
        return tuple(name for name in self.channel_names if all(name in case.channels for case in self))

    def select(self, *, split: str | None = None, healthy: bool | None = None) -> Cohort:
        """Return the cases of a split, or the healthy (or not healthy) ones.

        Raises:
            MismatchError: no case has that split, though others have one of another name.
        """
        splits = {case.split for case in self if case.split}
        if split is not None and split not in {*splits, "train", "val"}:
            raise MismatchError(
                f"{self.source}: no split '{split}'; there are: {', '.join(sorted(splits)) or 'none'}"
            )
        return Cohort(
            (
                case
                for case in self
                if (split is None or case.split == split) and (healthy is None or case.healthy == healthy)
            ),
            self.source,
            self.warnings,
        )

    def data_hash(self, channels: Sequence[str] | None = None) -> str:
        """Hash of names and contents of all cases; the order does not matter."""
        return config_hash(sorted((case.case, case.content_hash(channels)) for case in self))

    @classmethod
    def read(cls, manifest: Path | str) -> Cohort:
        """Read a manifest and check it.

        Relative paths are relative to the manifest. ``patient`` is the case where the column is missing.

        Raises:
            ManifestError: lists every problem at once, with row numbers.
        """
        path = expect_path(manifest, "Cohort.read")
        problems: list[str] = []
        columns, rows = read_table(path, "case", problems)
        cases = _parse(path, columns, rows, problems)
        problems += _conflicts(cases)
        if not problems:
            problems += [problem for case in cases for problem in _grid_problems(case)]
        if problems:
            raise ManifestError(path, problems)
        return cls(cases, path)

    @classmethod
    def from_paths(cls, paths: Path | str | Sequence[Path | str]) -> Cohort:
        """Make a cohort of scan files, DICOM folders, folders of scans or one manifest.

        The channel of loose scans is ``image``. Several files of one DICOM series, or both of a NIfTI pair, are one case. A path that
        cannot be used is a case, too, so that reading it says why, unless there is no other.

        Raises:
            InputError: nothing in the paths can be read, or two scans have one name.
            ManifestError: the manifest has problems.
        """
        from aberra.io import distinct, named
        from aberra.output import refuse_as_input

        several = paths if isinstance(paths, Sequence) and not isinstance(paths, str | bytes) else [paths]
        given = [expect_path(path, "Cohort.from_paths") for path in several]
        if not given:
            raise InputError(
                "Cohort.from_paths: no paths; give scan files, DICOM folders, folders of scans or a manifest"
            )
        if len(given) == 1 and given[0].suffix.lower() in TABLES:
            return cls.read(given[0])
        for path in given:
            if path.suffix.lower() in TABLES:
                raise InputError(f"{path}: a manifest stands alone; give it without other paths")
        warnings: list[str] = []
        found: list[tuple[str, Path]] = []
        refused: list[InputError] = []
        groups = distinct(given)
        for name, path in named(groups, warnings):
            refuse_as_input(path)
            try:
                found += _scans(name, path, warnings)
            except InputError as error:
                refused.append(error)
                found.append((name, path))
        if len(refused) == len(groups):
            raise InputError("\n".join(map(str, refused)) or "no scans given")
        counts = Counter(name for name, _ in found)
        doubled = [name for name, count in counts.items() if count > 1]
        if doubled:
            raise InputError(
                f"several scans are called {', '.join(doubled)} ({', '.join(str(path) for name, path in found if name == doubled[0])}); "
                "rename them or use a manifest"
            )
        return cls(
            (Case(case=name, patient=name, channels={"image": path}) for name, path in found),
            ", ".join(str(path) for path in given),
            warnings,
        )


def _scans(name: str, path: Path, warnings: list[str]) -> list[tuple[str, Path]]:
    """The scans at a path, which is one or a folder of them.

    Raises:
        InputError: there are none.
    """
    from aberra.io import find_scans, sniff, what_is

    if what_is(path) != "folder":
        sniff(path)
        return [(name, path)]
    notes: list[str] = []
    scans = find_scans(path, notes)
    if (path / "manifest.csv").is_file():
        warnings.append(
            f"{path} holds a manifest.csv, which is not used here: masks and truth count as scans; give {path / 'manifest.csv'} instead"
        )
    warnings += notes
    if not scans:
        why = "".join(f"\n  {note}" for note in notes)
        raise InputError(f"{path}: no scans in this folder (NIfTI, DICOM, PNG, JPEG, TIFF){why}")
    return scans


def _parse(path: Path, columns: list[str], rows: Rows, problems: list[str]) -> list[Case]:
    """Turn rows into cases, collecting problems."""
    records = [record for _, record in rows]
    channels = [name for name in columns if name not in RESERVED and _holds_paths(name, records, path.parent)]
    if not channels:
        problems.append(
            "row 1: no channel: expected a column of scan paths named by the sequence, such as 'flair' or 't1'"
        )
    found = [_case(number, record, channels, path.parent, problems) for number, record in rows]
    return [case for case in found if case is not None]


def _holds_paths(name: str, records: list[dict[str, str]], folder: Path) -> bool:
    """Whether a column names scans: by suffix, or (DICOM folders) by distinct values that exist.

    Distinct, because a column such as ``organ`` may have the names of folders without meaning them.
    """
    from aberra.io import SUFFIXES

    values = [record[name] for record in records if record.get(name)]
    if any(value.lower().endswith(SUFFIXES) for value in values):
        return True
    return len(set(values)) == len(values) and any(not _missing(_located(folder, value)) for value in values)


def _located(folder: Path, value: str) -> Path:
    """The path that a field means: relative to the manifest, ``~`` for the home folder."""
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:  # there is no such user
        return folder / value


def _missing(path: Path) -> str:
    """Why there is nothing at a path, and what to do; empty where there is something."""
    try:
        if path.exists():
            return ""
    except (OSError, ValueError) as error:
        return f"{str(path)[:300]}: {getattr(error, 'strerror', None) or error}"
    hint = "; write folders with '/'" if "\\" in str(path) else ""
    return f"no such file {path}{hint}"


def _case(
    number: int, record: dict[str, str], channels: list[str], folder: Path, problems: list[str]
) -> Case | None:
    """Build one case; None if it has no usable name."""
    name = record.get("case", "")
    wrong = _unsafe(name)
    if wrong:
        problems.append(f"row {number}: case '{name[:LONGEST]}' {wrong}")
        return None
    label = {"0.0": "0", "1.0": "1"}.get(record.get("label", ""), record.get("label", ""))
    if label not in {"", "0", "1"}:
        problems.append(f"row {number}: label '{label}' is unknown; expected 0 (healthy), 1 (not) or nothing")
        label = ""
    age = record.get("age", "")
    if age and not (re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", age) and float(age) <= OLDEST):
        hint = ", as in 61.5" if re.fullmatch(r"[0-9]+,[0-9]+", age) else ""
        problems.append(f"row {number}: age '{age[:LONGEST]}' is not a number of years{hint}")
    files: dict[str, Path] = {}
    for column in (*channels, *MAPS):
        value = record.get(column, "")
        if not value:
            continue
        files[column] = _located(folder, value)
        missing = _missing(files[column])
        if missing:
            problems.append(f"row {number}: {column}: {missing}")
    given = {column: files[column] for column in channels if column in files}
    if channels and not given:
        problems.append(f"row {number}: {name} has no scan in any channel ({', '.join(channels)})")
    split = record.get("split", "")
    return Case(
        case=name,
        patient=record.get("patient", "") or name,
        channels=given,
        **{column: files.get(column) for column in MAPS},
        label=int(label) if label else None,
        groups={
            key: value
            for key, value in record.items()
            if value and key not in {*channels, *MAPS, "case", "patient", "label", "split"}
        },
        split=(split.lower() if split.lower() in SPLITS else split) or None,
        row=number,
    )


def _unsafe(name: str) -> str:
    """What keeps a name from being a folder's; empty where nothing does."""
    if not SAFE.fullmatch(name):
        better = re.sub(r"[^\w.+-]+", "_", name).strip("._+-")[:LONGEST]
        hint = f", as in '{better}'" if better and name.isprintable() else ""
        return f"is not a name (letters, digits, '.', '_', '-', '+'; not empty){hint}"
    if len(name.encode()) > LONGEST_NAME:
        return f"is too long: {len(name.encode())} bytes, expected {LONGEST_NAME} at most"
    return ""


def _conflicts(cases: list[Case]) -> list[str]:
    """Doubled cases and patients in two splits."""
    problems = []
    first: dict[str, tuple[int, str]] = {}
    splits: dict[str, dict[str, int]] = {}
    for case in cases:
        same = normalize("NFC", case.case).casefold()
        if same in first:
            row, other = first[same]
            also = "" if other == case.case else f" as '{other}', which some systems do not tell apart"
            problems.append(f"row {case.row}: case '{case.case}' is there already, in row {row}{also}")
        first.setdefault(same, (case.row, case.case))
        if case.split:
            splits.setdefault(case.patient, {}).setdefault(case.split, case.row)
    for patient, where in splits.items():
        if len(where) > 1:
            listed = ", ".join(f"'{split}' (row {row})" for split, row in where.items())
            problems.append(
                f"row {max(where.values())}: patient '{patient}' is in {len(where)} splits: {listed}; splits are by patient"
            )
    return problems


def _grid_problems(case: Case) -> list[str]:
    """All files of a case must lie on the same voxels; only headers are read."""
    from aberra.io import grid_of, turned

    files = case.files
    if len(files) < 2:
        return []
    grids = []
    for name, path in files.items():
        with suppress(InputError):  # reading the case says why, and does not keep the others from being read
            grids.append((name, grid_of(path)))
    return [
        f"row {case.row}: {name} is on another grid than {grids[0][0]} ({files[name].name} and {files[grids[0][0]].name}); "
        "resample them onto one grid"
        for name, grid in grids[1:]
        if turned(grid, grids[0][1]) is None
    ]


def with_split(case: Case, split: str) -> Case:
    """Return the case in another split."""
    return replace(case, split=split)


def expect_cohort(given: object) -> Cohort:
    """Return what was given if it is a cohort.

    Raises:
        InputError: it is something else; says how to make a cohort.
    """
    if not isinstance(given, Cohort):
        raise InputError(f"expected a Cohort, got {described(given)}; as in Cohort.read('manifest.csv')")
    return given
