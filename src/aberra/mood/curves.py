"""Figures of scores and rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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


def ranking_figures(
    folder: Path,
    stability: Mapping[str, Sequence[int]],
    subclasses: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[str]:
    """Draw how often each team has each rank, and the curves over subclasses of each data set."""
    made = []
    if stability:
        teams = [*stability]
        shares = np.array([stability[team] for team in teams], float)
        shares /= shares.sum(axis=1, keepdims=True)
        figure, axes = blank("Ranks in the bootstrap", "", "rank")
        column, rank = np.nonzero(shares)
        axes.scatter(column, rank + 1, s=420 * shares[column, rank], color=ACCENT, alpha=0.8, lw=0)
        axes.set_xticks(range(len(teams)), teams, rotation=30, ha="right")
        ends: dict[str, Any] = {"xlim": (-0.6, len(teams) - 0.4), "ylim": (len(teams) + 0.6, 0.4)}
        axes.set_yticks(range(1, len(teams) + 1))
        made.append(finished(figure, axes, folder / "stability.png", **ends))
    for name, rows in subclasses.items():
        figure, axes = blank(f"{name}: AP by subclass, at 50/50", "", "average precision")
        figure.set_size_inches(max(5.2, 1.5 + 0.3 * len(rows)), 4.4)
        for key, colour, style in (("oracle", INK, ":"), ("best", WARM, "-"), ("median", ACCENT, "-")):
            values = [np.nan if row[key] is None else row[key] for row in rows]
            axes.plot(range(len(rows)), values, style, color=colour, marker="o", ms=3, label=key)
        axes.set_xticks(
            range(len(rows)), [row["subclass"] for row in rows], rotation=60, ha="right", fontsize=7
        )
        made.append(finished(figure, axes, folder / f"subclasses-{_plain(name)}.png", ylim=(0, 1.02)))
    return made


def slopes(folder: Path, rows: Sequence[Mapping[str, Any]], told: str) -> str:
    """Draw each team's rank in two tables, joined by a line: level ones agree, what falls is warm."""
    figure, axes = blank("Rank here and in the table against it", "", "rank")
    figure.set_size_inches(6.4, 1.6 + 0.24 * len(rows))
    for side, at, align in (("rank", 0, "right"), ("rank_against", 1, "left")):
        for place in sorted({row[side] for row in rows}):
            names = ", ".join(row["team"] for row in rows if row[side] == place)
            axes.text(
                at + (0.03 if at else -0.03), place, names, ha=align, va="center", fontsize=8, color=INK
            )
    for row in rows:
        colour = WARM if row["falls"] > 0 else ACCENT
        axes.plot([0, 1], [row["rank"], row["rank_against"]], color=colour, marker="o", ms=4, lw=1.2)
    axes.set_xlabel(told, color=INK, fontsize=9)
    axes.set_xticks([0, 1], ["here", "against"])
    axes.set_yticks([1, *range(5, len(rows) + 1, 5)])
    return finished(figure, axes, folder / "against.png", xlim=(-0.7, 1.7), ylim=(len(rows) + 0.6, 0.4))


def _plain(name: str) -> str:
    """A data set's name as part of a file's."""
    return "".join(each if each.isalnum() or each in "-_." else "-" for each in name)
