"""``metrics.jsonl``: a line a logged step, a line an evaluation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aberra.files import record, write_text, writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def add(path: Path, row: dict[str, Any]) -> None:
    """Append a line."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def trim(path: Path, step: int) -> None:
    """Drop lines of steps after ``step``, which the checkpoint does not know (and a half-written
    last line).
    """
    record(path)
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            known = json.loads(line)["step"] <= step
        except (json.JSONDecodeError, KeyError):
            known = False
        if known:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def validations(path: Path) -> list[tuple[int, float]]:
    """Step and validation loss of every evaluation so far."""
    if not path.is_file():
        return []
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(row["step"], row["validation"]) for row in rows if "validation" in row]


def late_gain(validations: Sequence[tuple[int, float]]) -> float | None:
    """By what share of itself the best validation loss fell in the last fifth of the steps; None
    where it cannot be told.

    Not for models that learn in turns, whose losses cannot be compared from stage to stage.
    """
    steps = max((step for step, _ in validations), default=0)
    before = [loss for step, loss in validations if step <= 0.8 * steps]
    after = [loss for step, loss in validations if step > 0.8 * steps]
    if not before or not after or not min(before):
        return None
    return (min(before) - min(*before, *after)) / abs(min(before))
