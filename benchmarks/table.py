"""The rows that the benchmarks of this folder print and keep."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from aberra.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def show(row: Mapping[str, Any]) -> None:
    """Print a row when it is measured."""
    print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def save(rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Write rows of the same keys as CSV, whole or not at all; nothing where no path is given."""
    if path is None:
        return
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
