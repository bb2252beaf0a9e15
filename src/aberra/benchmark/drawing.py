"""What all figures of a benchmark share: colours, axes, values of a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Rows = Sequence[Mapping[str, Any]]

INK, MUTED, GRID = "#22303c", "#9aa5b1", "#e3e8ec"
FAMILIES = (
    ("restoration", "#7b4fa3"),
    ("grad", "#b07d12"),
    ("combi", "#b07d12"),
    ("gan", "#c2571a"),
    ("aae", "#c2571a"),
    ("vae", "#1f6f8b"),
    ("ae", "#4a9d5b"),
)
"""Part of a method's name to its colour, the first that fits; everything else is grey."""


def values_of(rows: Rows, metric: str) -> dict[str, float]:
    """Mean over seeds by label."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["metric"] == metric and row["value"] is not None:
            found.setdefault(row["label"], []).append(float(row["value"]))
    return {label: float(np.mean(values)) for label, values in found.items()}


def ordered(rows: Rows) -> list[str]:
    """Labels, best AP first."""
    values = values_of(rows, "AP")
    return sorted(values, key=lambda label: -values[label])


def colour(label: str) -> str:
    """Of a row, by its family."""
    return next((colour for part, colour in FAMILIES if part in label), MUTED)


def grid(
    rows: int, columns: int, *, width: float, height: float, left_only: bool = False
) -> tuple[Any, list[Any]]:
    """A figure and its axes in reading order; ``width`` and ``height`` in inches are of one panel."""
    from matplotlib.figure import Figure

    extra = 1.4 if left_only else 0.0
    figure = Figure(figsize=(width * columns + extra, height * rows + 0.4), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False, sharey=left_only)))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK)
        axis.grid(visible=True, color=GRID, lw=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def title(figure: Any, text: str, fontsize: float = 12) -> None:
    """Write a figure's title at the left, in as many lines as its width needs."""
    from textwrap import fill

    letters = figure.get_figwidth() * 72 / (0.55 * fontsize)  # a letter is about half as wide as high
    figure.suptitle(fill(text, max(20, int(letters))), x=0.01, ha="left", fontsize=fontsize)


def save(figure: Any, path: Path) -> Path:
    """Write a figure whole; returns where."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return path
