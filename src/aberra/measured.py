"""What the methods of the catalogue reached in this project's benchmarks:
``catalogue/measured.csv``, a row a method and cohort.

The file is made from ``benchmarks/results`` by ``benchmarks/publish.py``; nobody writes into it.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

COLUMNS = (
    "method", "suite", "size", "task", "cohort", "ap", "low", "high", "m0", "undertrained", "training_seconds",
    "seconds_per_case", "machine", "commit", "date",
)  # fmt: skip
"""Voxel AP with its 95 % interval over patients, the plain threshold's (M0, its best polarity)
beside it, whether its training was too short, and what it took."""


@cache
def _rows() -> tuple[dict[str, str], ...]:
    text = (files("aberra") / "catalogue" / "measured.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def measured(method: str) -> list[dict[str, str]]:
    """Rows of a method by its name in the catalogue; none where nothing is published."""
    return [dict(row) for row in _rows() if row["method"] == method]


def in_words(row: dict[str, str]) -> str:
    """A row as a phrase."""
    spread = f" [{row['low']}, {row['high']}]" if row["low"] else ""
    bar = f" (M0 {row['m0']})" if row["m0"] and row["method"] != "intensity" else ""
    training = f"training {row['training_seconds']} s, " if row["training_seconds"] else ""
    short = "undertrained (a lower bound), " if row["undertrained"] == "1" else ""
    return (
        f"voxel AP {row['ap']}{spread}{bar} on {row['task']}: {row['cohort']}, `aberra benchmark {row['suite']}` at {row['size']}; "
        f"{training}{short}{row['seconds_per_case']} s a case on {row['machine']}, {row['date']}"
    )
