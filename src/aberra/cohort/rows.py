"""Rows of a manifest into cases, with every problem that they have."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

from aberra.cohort.case import MAPS, Case
from aberra.cohort.table import LONGEST, Rows
from aberra.errors import InputError

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


def cases_of(path: Path, columns: list[str], rows: Rows, problems: list[str]) -> list[Case]:
    """Turn the rows of a manifest at ``path`` into cases, collecting problems."""
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
    wrong = unsafe(name)
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


def unsafe(name: str) -> str:
    """What keeps a name from being a folder's; empty where nothing does."""
    if not SAFE.fullmatch(name):
        better = re.sub(r"[^\w.+-]+", "_", name).strip("._+-")[:LONGEST]
        hint = f", as in '{better}'" if better and name.isprintable() else ""
        return f"is not a name (letters, digits, '.', '_', '-', '+'; not empty){hint}"
    if len(name.encode()) > LONGEST_NAME:
        return f"is too long: {len(name.encode())} bytes, expected {LONGEST_NAME} at most"
    return ""


def conflicts(cases: list[Case]) -> list[str]:
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


def grid_problems(case: Case) -> list[str]:
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
