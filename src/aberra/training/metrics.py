"""``metrics.jsonl``: a line a logged step, a line an evaluation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aberra.files import record, write_text, writing

if TYPE_CHECKING:
    from pathlib import Path


def add(path: Path, row: dict[str, Any]) -> None:
    """Append a line."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def trim(path: Path, step: int) -> None:
    """Drop lines of steps after ``step``, which the checkpoint does not know (and a half-written last line)."""
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
