"""The manifest: one CSV row a case, one path column a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

from aberra.cohort.bids import dataset_of, read_bids
from aberra.cohort.case import Case
from aberra.cohort.rows import cases_of, conflicts, grid_problems
from aberra.cohort.table import SUFFIXES as TABLES
from aberra.cohort.table import read_table
from aberra.errors import InputError, ManifestError, MismatchError, shortlist
from aberra.files import config_hash
from aberra.jobs import share
from aberra.volume import described, expect_path

if TYPE_CHECKING:
    from pathlib import Path


class Cohort(Sequence[Case]):
    """Cases that belong together.

    Args:
        cases: in order.
        source: where they come from, for messages.
        warnings: what whoever reads the results should know of how they were found.

    Examples:
        >>> from aberra.cohort import Case, Cohort
        >>> cases = [Case(case=f"s{n}", patient="p", channels={}, label=n % 2) for n in range(4)]
        >>> [case.case for case in Cohort(cases).select(healthy=True)]
        ['s0', 's2']
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
        cases = (case for case in self if healthy is None or case.healthy == healthy)
        chosen = (case for case in cases if split is None or case.split == split)
        return Cohort(chosen, self.source, self.warnings)

    def part(self, which: str) -> Cohort:
        """Return one of several parts, for as many processes or machines: of ``2/8`` every eighth
        case from the second on.

        Raises:
            MismatchError: this is no part, or one without a case.
        """
        return Cohort(share(self, which, f"{self.source}: case(s)"), self.source, self.warnings)

    def having(self, channels: Sequence[str]) -> Cohort:
        """Return the cases that have all of these channels; a warning names the others.

        Raises:
            MismatchError: no case has them.
        """
        chosen = [case for case in self if all(name in case.channels for name in channels)]
        wanted = ", ".join(channels)
        if not chosen:
            there = ", ".join(self.channel_names) or "nothing"
            raise MismatchError(
                f"{self.source}: no case has {wanted}; there is {there}. Say what to read with --channel"
            )
        kept = {case.case for case in chosen}
        left = [case.case for case in self if case.case not in kept]
        note = f"{self.source}: {len(left)} case(s) without {wanted} left out ({shortlist(left)})"
        return Cohort(chosen, self.source, [*self.warnings, *[note] * bool(left)])

    def data_hash(self, channels: Sequence[str] | None = None) -> str:
        """Hash of names and contents of all cases; the order does not matter."""
        return config_hash(sorted((case.case, case.content_hash(channels)) for case in self))

    def covariates_hash(self, columns: Sequence[str]) -> str:
        """Hash of what is known of all people in these columns; the order does not matter."""
        return config_hash(
            sorted([case.case, *(case.groups.get(name, "") for name in columns)] for case in self)
        )

    @classmethod
    def read(cls, manifest: Path | str) -> Cohort:
        """Read a manifest and check it.

        Relative paths are relative to the manifest. ``patient`` is the case where the column is
        missing.

        Raises:
            ManifestError: lists every problem at once, with row numbers.
        """
        path = expect_path(manifest, "Cohort.read")
        problems: list[str] = []
        columns, rows = read_table(path, "case", problems)
        cases = cases_of(path, columns, rows, problems)
        problems += conflicts(cases)
        if not problems:
            problems += [problem for case in cases for problem in grid_problems(case)]
        if problems:
            raise ManifestError(path, problems)
        return cls(cases, path)

    @classmethod
    def from_paths(cls, paths: Path | str | Sequence[Path | str]) -> Cohort:
        """Make a cohort of scan files, DICOM folders, folders of scans, one BIDS dataset or one
        manifest.

        A dataset has a case a session and a channel a sequence
        (:func:`aberra.cohort.bids.read_bids`); the channel of loose scans is ``image``. Several
        files of one DICOM series, or both of a NIfTI pair, are one case. A path that cannot be used
        is a case, too, so that reading it says why, unless there is no other.

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
        if len(given) == 1 and (dataset := dataset_of(given[0])):
            cases, notes = read_bids(dataset)
            return cls(cases, dataset, notes)
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


def expect_cohort(given: object) -> Cohort:
    """Return what was given if it is a cohort.

    Raises:
        InputError: it is something else; says how to make a cohort.
    """
    if not isinstance(given, Cohort):
        raise InputError(f"expected a Cohort, got {described(given)}; as in Cohort.read('manifest.csv')")
    return given
