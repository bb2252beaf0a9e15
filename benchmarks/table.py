"""What the benchmarks of this folder print and keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.benchmark.machine import commit
from aberra.files import csv_text, read_json, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PAGES = Path(__file__).parent.parent / "docs" / "explanation"
"""Pages include the tables in folders here."""


def show(row: Mapping[str, Any]) -> None:
    """Print a row when it is measured."""
    print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def save(rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Write rows of the same keys as CSV, whole or not at all; nothing where no path is given."""
    if path is not None:
        write_text(path, csv_text(list(rows[0]), rows))


def publish(rows: Sequence[Mapping[str, Any]], table: str, out: Path | None, page: Path | None) -> None:
    """Print a table; write its rows as CSV and itself where a page includes it, as far as that is
    asked for.
    """
    print(table)
    save(rows, out)
    if page is not None:
        write_text(page, table)


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read what an earlier run has measured, or measure it and keep it."""
    if not path.is_file():
        write_json(path, measure())
    content: dict[str, Any] = read_json(path)
    return content


def as_markdown(header: Sequence[str], lines: Sequence[Sequence[str]], caption: str) -> str:
    """A Markdown table with its caption below."""
    shown = ["| " + " | ".join(line) + " |" for line in (header, *lines)]
    shown.insert(1, "|---" * len(header) + "|")
    return "\n".join([*shown, "", caption, ""])


__all__ = ["PAGES", "as_markdown", "commit", "kept", "publish", "save", "show"]
