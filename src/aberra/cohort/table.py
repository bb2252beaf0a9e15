"""The manifest as a file: from bytes to rows, or the cause why it is no table of cases.

Spreadsheets save tables in many ways. What has one meaning is read (byte-order mark, line ends,
empty rows, trailing commas); what a program could only guess (separator, encoding, a quote that is
not closed) is refused with what to do.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING

from aberra.errors import ManifestError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".csv", ".tsv", ".psv", ".xlsx", ".xls", ".ods")
"""Files that are meant as tables, whether they can be read or not."""

SAVE = "save it as 'CSV UTF-8 (comma separated)'"
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
HINT = re.compile(r"\"?sep=.?\"?")
"""Excel's, to itself, of what separates the fields."""

BINARY = {
    b"PK\x03\x04": "a spreadsheet or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "gzipped",
    b"\xff\xfe\x00\x00": "encoded as UTF-32",
    b"\x00\x00\xfe\xff": "encoded as UTF-32",
    b"\xff\xfe": "encoded as UTF-16 ('Unicode text')",
    b"\xfe\xff": "encoded as UTF-16 ('Unicode text')",
}
LONGEST = 100
"""Characters of a column's name, and of a value in a message."""

Rows = list[tuple[int, dict[str, str]]]
"""Line of the file, and column to value; empty rows are left out."""


def read_table(path: Path, needed: str, problems: list[str]) -> tuple[list[str], Rows]:
    """Read a table.

    Args:
        path: the file.
        needed: a column without which nothing is understood.
        problems: gets what is wrong with single rows and columns.

    Returns:
        Names of the columns in order, lower case; and the rows.

    Raises:
        ManifestError: the file as a whole is no such table.
    """
    text = _text(path)
    separator = _separator(_first(text), needed)
    if separator:
        raise ManifestError(path, [f"row 1: the fields are separated by {separator}; {SAVE}"])
    lines = _split(path, text)
    if not lines:
        raise ManifestError(path, ["expected a header, but the file is empty"])
    (first, header), body = lines[0], lines[1:]
    names = [name.strip().lower() for name in header]
    if needed not in names:
        raise ManifestError(
            path, [f"row {first}: expected a header with a column '{needed}'{_instead(names, needed)}"]
        )
    used = {place for _, row in body for place, value in enumerate(row) if value.strip()}
    named = [(place, name) for place, name in enumerate(names) if name or place in used]
    problems += _columns(first, names, named, body)
    if not body:
        raise ManifestError(path, [*problems, "no cases: only a header"])
    rows: Rows = []
    for number, row in body:
        surplus = [value for value in row[len(names) :] if value.strip()]
        if surplus or len(row) < named[-1][0] + 1:
            hint = next(
                (name for sign, name in SEPARATORS.items() if any(sign in each for each in row)), None
            )
            problems.append(
                f"row {number}: {len(row)} fields, the header has {len(names)}; "
                + (f"are they separated by {hint}?" if hint else "quote values that hold a comma")
            )
        rows.append((number, {name: row[place].strip() for place, name in named if place < len(row)}))
    return [name for _, name in named if name], rows


def _text(path: Path) -> str:
    """The file as text.

    Raises:
        ManifestError: it cannot be read, or is no UTF-8 text.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise ManifestError(path, ["cannot be read: a folder; give the CSV file"]) from error
    except (OSError, ValueError) as error:
        raise ManifestError(
            path, [f"cannot be read ({getattr(error, 'strerror', None) or error})"]
        ) from error
    for magic, kind in BINARY.items():
        if content.startswith(magic):
            raise ManifestError(path, [f"cannot be read as UTF-8 CSV: {kind}; {SAVE}"])
    if b"\x00" in content:
        row = content[: content.index(b"\x00")].count(b"\n") + 1
        raise ManifestError(
            path, [f"row {row}: a NUL byte, so this is no text file, or one encoded as UTF-16; {SAVE}"]
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row, byte = content[: error.start].count(b"\n") + 1, content[error.start]
        raise ManifestError(
            path,
            [
                f"row {row}: cannot be read as UTF-8 (byte 0x{byte:02x}), perhaps it is Latin-1 or Windows-1252; {SAVE}"
            ],
        ) from error


def _split(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Rows that are not empty, each with the line it begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, begins = [], 1
    try:
        for row in reader:
            if any(value.strip() for value in row):
                rows.append((begins, row))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ManifestError(
            path,
            [
                f"row {begins}: cannot be read as CSV ({error}); are quotes closed, and only around whole fields?"
            ],
        ) from error
    if rows and HINT.fullmatch(rows[0][1][0].strip().lower()):
        del rows[0]
    return rows


def _first(text: str) -> str:
    """The first line that is not empty, without Excel's hint."""
    lines = (line.strip(" ,\r\n").lower() for line in re.split("[\r\n]+", text[: 1 << 16]))
    return next((line for line in lines if line and not HINT.fullmatch(line)), "")


def _separator(line: str, needed: str) -> str | None:
    """What separates a header's fields, if ``needed`` is one of them and it is no comma."""
    if needed in map(_bare, line.split(",")):
        return None
    signs = SEPARATORS if "," in line else SEPARATORS | {" ": "spaces"}
    return next((name for sign, name in signs.items() if needed in map(_bare, line.split(sign))), None)


def _bare(name: str) -> str:
    return name.strip(" \"'")


def _instead(names: list[str], needed: str) -> str:
    """What there is in place of a column."""
    if len(names) == 1 and "," in names[0]:
        return f"; the whole line is in quotes; {SAVE}"
    near = get_close_matches(needed, names, n=1)
    listed = ", ".join(f"'{name[:LONGEST]}'" for name in names[:10]) + (", ..." if len(names) > 10 else "")
    return f" and one path column a channel; the columns are {listed}" + (
        f". Is '{near[0]}' meant?" if near else ""
    )


def _columns(
    first: int, names: list[str], named: list[tuple[int, str]], body: list[tuple[int, list[str]]]
) -> list[str]:
    """What is wrong with the header, and fields that run over lines."""
    problems = []
    doubled = [name for name, count in Counter(name for name in names if name).items() if count > 1]
    if doubled:
        problems.append(f"row {first}: column(s) {', '.join(doubled)} occur twice")
    problems += [
        f"row {first}: column {place + 1} has no name, but values" for place, name in named if not name
    ]
    problems += [
        f"row {first}: column {place + 1} has the name {name[:LONGEST]!r}; expected at most {LONGEST} printable characters"
        for place, name in named
        if len(name) > LONGEST or not name.isprintable()
    ]
    problems += [
        f"row {number}: a field runs over the end of the line: {value[:LONGEST]!r}; a quote is not closed"
        for number, row in body
        for value in row
        if "\n" in value.strip() or "\r" in value.strip()
    ]
    return problems
