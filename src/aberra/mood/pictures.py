"""Figures of scores and rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.metrics.figures import ACCENT, INK, WARM, blank, finished
from aberra.mood.groups import SWEPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


ROW = 0.24
"""Inches a bar."""


def group_figures(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draw AP by category and subclass, and along each sweep; returns the files' names."""
    made = []
    named = [row for row in rows if row["kind"] in {"category", "subclass"}]
    if named:
        figure, axes = blank("AP by kind of anomaly, at 50/50", "average precision", "")
        named = sorted(named, key=lambda row: (row["kind"] == "category", row["ap"]))
        figure.set_size_inches(7, 1.1 + ROW * len(named))
        colours = [INK if row["kind"] == "category" else ACCENT for row in named]
        axes.barh(
            [f"{row['name']} ({row['cases']})" for row in named], [row["ap"] for row in named], color=colours
        )
        axes.tick_params(axis="y", labelsize=8)
        made.append(finished(figure, axes, folder / "groups.png", xlim=(0, 1)))
    for column in SWEPT:
        own = sorted((row for row in rows if row["kind"] == column), key=lambda row: row["from"])
        if not own:
            continue
        figure, axes = blank(
            f"AP by {column.replace('_mm', '')}", column.replace("_", ", "), "average precision"
        )
        middle = [(row["from"] + row["to"]) / 2 for row in own]
        axes.plot(
            middle, [row["ap"] for row in own], color=ACCENT, marker="o", ms=3, label="pooled, at 50/50"
        )
        axes.plot(middle, [row["median"] for row in own], color=WARM, lw=1, ls=":", label="median, a case")
        made.append(finished(figure, axes, folder / f"sweep-{column}.png", ylim=(0, 1.02)))
    return made
