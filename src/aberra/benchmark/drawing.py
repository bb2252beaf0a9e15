"""What all figures of a benchmark share: colours, axes, values of a metric."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.benchmark.rows import means, undertrained
from aberra.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]

INK, MUTED, GRID = "#22303c", "#9aa5b1", "#e3e8ec"
FAMILIES = {
    "baseline": "#6b7680", "statistical": "#8c5a2b", "autoencoder": "#4a9d5b", "variational": "#1f6f8b",
    "adversarial": "#e07a1f", "restoration": "#7b4fa3", "gradient": "#c9a227", "diffusion": "#d1495b",
    "guided diffusion": "#7a1f3d", "synthetic anomalies": "#35b0ab", "density": "#4c5fd7",
    "supervised": "#22303c", "self-supervised": "#3f7d20",
}  # fmt: skip
"""Family of a method to its colour, the same in every figure."""

SPARE = ("#d06ad0", "#8fbf2f", "#4aa3f0", "#b08968", "#f29191")
"""Colours of families that are not ours, in the order of their names, and of lines that are told
apart by nothing else."""

OTHER = "other"
"""Family of a method that names none."""


def ordered(rows: Rows) -> list[str]:
    """Labels, best AP first."""
    values = means(rows, "AP")
    return sorted(values, key=lambda label: -values[label])


def shown(rows: Rows) -> dict[str, str]:
    """Label to what figures write: a row that was trained too short says so."""
    short = undertrained(rows)
    return {
        row["label"]: f"{row['label']}, undertrained" if row["label"] in short else row["label"]
        for row in rows
    }


def families(rows: Rows) -> dict[str, str]:
    """Label to family."""
    return {row["label"]: row.get("family") or OTHER for row in rows}


def colours(rows: Rows) -> dict[str, str]:
    """Label to the colour of its family."""
    family = families(rows)
    foreign = sorted(set(family.values()) - set(FAMILIES) - {OTHER})
    known = {OTHER: MUTED} | dict(zip(foreign, cycle(SPARE), strict=False)) | FAMILIES
    return {label: known[name] for label, name in family.items()}


def distinct(names: Sequence[str]) -> dict[str, str]:
    """A colour a name, where it is not the family that is told apart."""
    return dict(zip(names, cycle((*list(FAMILIES.values())[2:10], *SPARE)), strict=False))


def shades(count: int) -> NDArray[np.float64]:
    """Colours of an ordered series, dark to light: (count, 4)."""
    from matplotlib import colormaps

    return np.asarray(colormaps["viridis"](np.linspace(0.1, 0.8, count)))


def explain(figure: Any, rows: Rows) -> None:
    """A legend of the families below the figure."""
    colour = colours(rows)
    of_family = {family: colour[label] for label, family in families(rows).items()}
    names = [*(name for name in FAMILIES if name in of_family), *sorted(set(of_family) - set(FAMILIES))]
    legend(figure, {name: of_family[name] for name in names})


def legend(figure: Any, colour: Mapping[str, Any]) -> None:
    """A legend of points below the figure: text to colour."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", ls="", color=value, label=name) for name, value in colour.items()]
    columns = max(1, min(len(marks), int(figure.get_figwidth() / 1.6)))
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


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


def logarithmic(axis: Any, formatter: Any = "{x:g}", subs: Sequence[float] = (1, 3), **options: Any) -> None:
    """A logarithmic axis of x with few, plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(**options) if options else LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(formatter)
    axis.xaxis.set_minor_formatter(NullFormatter())


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
