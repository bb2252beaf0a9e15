"""Figures of a benchmark that set one number against another: size, fidelity, rank in the study,
metric against metric.
"""

from __future__ import annotations

from itertools import cycle, product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aberra.benchmark import drawing
from aberra.benchmark.rows import (
    CELL,
    HIGHER,
    PROTOCOLS,
    bar,
    is_plain,
    means,
    of_sweep,
    settings_of,
    short,
    undertrained,
)
from aberra.benchmark.statistics import correlations, data_sets
from aberra.metrics.ranks import concordance, kendall, ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]

V = TypeVar("V")

FIDELITY = ("AP", "⌈Dice⌉", "l1-RE_N", "l1-RE_A", "chi2")
"""Metrics of the correlation maps (the study's Fig. 10)."""

GRID_METRICS = ("AP", "slice AUROC, matched by position")
"""Metrics of the figure of score against model."""

OURS = {"AUPRC": "AP", "MSE": "l1-RE_N"}
"""Metrics of publications that have another name here, or a likeness."""

LOGARITHMIC = 10
"""Ratio of a sweep's largest to its smallest value from which on its axis is logarithmic."""


def complexity(folder: Path, rows: Rows) -> Path | None:
    """AP against the number of parameters; lines join the unified and the original network of a
    method (Fig. 9).
    """
    from matplotlib.ticker import EngFormatter

    originals = {
        (row["task"], row["cohort"], row["method"]): row
        for row in rows
        if row["metric"] == "AP" and row["label"].endswith("original network")
    }
    panels = list(dict.fromkeys(key[:2] for key in originals))
    if not panels:
        return None
    methods = list(dict.fromkeys(key[2] for key in originals))
    markers = dict(zip(methods, cycle("os^Dv<>ph*"), strict=False))
    colours = drawing.distinct(methods)
    figure, axes = drawing.grid(1, len(panels), width=4.2, height=3.6)
    for axis, panel in zip(axes, panels, strict=True):
        place = *panel, "AP"
        own = [row for row in rows if (row["task"], row["cohort"], row["metric"]) == place and is_plain(row)]
        unified = {row["method"]: row for row in own if row["label"] == row["method"] and row["parameters"]}
        larger = {key[2]: row for key, row in originals.items() if key[:2] == panel}
        others = [row for method, row in unified.items() if method not in larger]
        axis.plot(
            [row["parameters"] for row in others], [row["value"] for row in others], "o", color=drawing.MUTED, ms=4,
            zorder=0, label="others, unified network" if others else None,
        )  # fmt: skip
        for method, row in larger.items():
            style = {"color": colours[method], "ms": 6}
            axis.plot(row["parameters"], row["value"], markers[method], mfc="white", label=method, **style)
            if method in unified:
                ends = [[each[key] for each in (unified[method], row)] for key in ("parameters", "value")]
                axis.plot(*ends, "-", color=colours[method], lw=1.2, zorder=1)
                axis.plot(unified[method]["parameters"], unified[method]["value"], markers[method], **style)
        drawing.logarithmic(axis, EngFormatter(sep=""))
        axis.set_title(": ".join(panel), loc="left", fontsize=10)
        axis.set(xlabel="parameters (filled unified, open original)", ylabel="AP")
        axis.legend(frameon=False, fontsize=8)
    return drawing.save(figure, folder / "complexity.png")


def sweep(folder: Path, rows: Rows, name: str, *, metrics: Sequence[str], protocol: str) -> Path | None:
    """Metrics over the settings that rows of one cohort sweep: a column of panels a setting, a row
    a metric, a line a method and its other swept settings.

    Dotted: the AP of the plain threshold at its best, and, of a setting that a single method
    sweeps, the method as it stands.

    Args:
        folder: of the figures.
        rows: of one task and cohort.
        name: of both.
        metrics: those that no swept row has are left out.
        protocol: of what depends on a threshold.
    """
    columns: dict[str, dict[tuple[str, str], dict[float | str, str]]] = {}
    of_setting: dict[str, set[str]] = {}
    for row in rows:
        settings = settings_of(row)
        if settings:
            setting, x = settings.popitem()
            others = ", ".join(f"{key.rpartition('.')[2]} {short(value)}" for key, value in settings.items())
            line = of_sweep(row), others
            columns.setdefault(setting, {}).setdefault(line, {})[x] = row["label"]
            of_setting.setdefault(setting, set()).add(row["method"])
    swept = {label for lines in columns.values() for points in lines.values() for label in points.values()}
    values = {metric: means(rows, metric, (*PROTOCOLS, protocol)) for metric in metrics}
    values = {metric: found for metric, found in values.items() if swept & found.keys()}
    if not values:
        return None
    figure, axes = drawing.grid(len(values), len(columns), width=3.8, height=2.4)
    for axis, ((metric, found), (setting, lines)) in zip(
        axes, product(values.items(), columns.items()), strict=True
    ):
        numbers = [x for points in lines.values() for x in points if isinstance(x, float)]
        ordered = len(numbers) == sum(map(len, lines.values()))
        for (label, points), style in zip(_labelled(lines), _styles(list(lines)), strict=True):
            shown = [(x if ordered else short(x), found[each]) for x, each in points.items() if each in found]
            if shown:
                drawn = zip(*(sorted(shown) if ordered else shown), strict=True)
                axis.plot(*drawn, marker="o", ms=4, lw=1.2, label=label, **style)
        as_it_stands = of_setting[setting] & found.keys() if len(of_setting[setting]) == 1 else set()
        dotted = {label: found[label] for label in as_it_stands}
        best = bar(rows) if metric == "AP" else None
        for label, value in {**dotted, **dict([best] if best else [])}.items():
            axis.axhline(value, color=drawing.MUTED, ls=":", lw=1)
            axis.annotate(
                label, (1, value), xycoords=("axes fraction", "data"), fontsize=7, ha="right", va="bottom"
            )
        if ordered and min(numbers) > 0 and max(numbers) / min(numbers) >= LOGARITHMIC:
            axis.set_xscale("log")
        axis.set(xlabel=setting.rpartition(".")[2], ylabel=metric)
    for axis in axes[: len(columns)]:
        axis.legend(fontsize=7, facecolor="white", edgecolor="none", framealpha=0.8)
    drawing.title(figure, f"{name}: what settings do")
    return drawing.save(figure, folder / f"sweep-{name}.png")


def _labelled(lines: Mapping[tuple[str, str], V]) -> list[tuple[str, V]]:
    """What a legend writes for each line: what tells it from the others."""
    alone = len({method for method, _ in lines}) == 1
    return [
        (others if alone and others else ", ".join(filter(None, (method, others))), points)
        for (method, others), points in lines.items()
    ]


def _styles(lines: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A colour a method and dashes for its other settings; of a single method colours from dark to
    light.
    """
    methods, settings = (list(dict.fromkeys(line[at] for line in lines)) for at in (0, 1))
    if len(methods) == 1:
        return [{"color": colour} for colour in drawing.shades(len(lines))]
    colours = drawing.distinct(methods)
    dashes = dict(zip(settings, cycle(("-", "--", "-.", ":")), strict=False))
    return [{"color": colours[method], "ls": dashes[others]} for method, others in lines]


def fidelity(folder: Path, rows: Rows, name: str) -> Path | None:
    """AP against the error of normal voxels, of anomalous ones and the distance of their histograms
    (study, section on fidelity).
    """
    rows = _errors(rows)
    ap = means(rows, "AP")
    panels = [
        (metric, values)
        for metric in FIDELITY[2:]
        if len(values := {k: v for k, v in means(rows, metric).items() if k in ap}) > 2
    ]
    if not panels:
        return None
    colour = drawing.colours(rows)
    written = drawing.shown(rows)
    figure, axes = drawing.grid(1, len(panels), width=4.0, height=3.8)
    for axis, (metric, values) in zip(axes, panels, strict=True):
        labels = list(values)
        x, y = np.array([values[each] for each in labels]), np.array([ap[each] for each in labels])
        for label, a, b in zip(labels, x, y, strict=True):
            axis.plot(a, b, "o", color=colour[label], ms=5)
        axis.margins(0.08)
        axis.locator_params(axis="x", nbins=5)
        highest = sorted(labels, key=lambda each: -ap[each])[:4]
        _name(axis, {written[each]: (values[each], ap[each]) for each in highest})
        r = float(np.corrcoef(x, y)[0, 1]) if x.std() and y.std() else float("nan")
        axis.set_title(f"{metric}, r = {r:.2f} (n = {len(labels)})", loc="left", fontsize=10)
        axis.set(xlabel=metric, ylabel="AP")
    drawing.explain(figure, rows)
    drawing.title(figure, f"{name}: methods whose map is a difference of images", fontsize=11)
    return drawing.save(figure, folder / f"fidelity-{name}.png")


def score_grid(folder: Path, rows: Rows, task: str) -> Path | None:
    """Score against model, as a ``[grid]`` of a suite asks: voxel AP and AUROC of slices of one
    position, a panel a cohort.
    """
    cells = {
        row["label"]: (row["method"], row["label"].removeprefix(f"{row['method']}{CELL}")) for row in rows
    }
    cells = {label: cell for label, cell in cells.items() if cell[1] != label}
    models, scores = (list(dict.fromkeys(cell[at] for cell in cells.values())) for at in (0, 1))
    cohorts = list(dict.fromkeys(row["cohort"] for row in rows if row["metric"] == "AP"))
    if len(models) < 2 or len(scores) < 2 or not cohorts:
        return None
    figure, axes = drawing.grid(
        len(GRID_METRICS), len(cohorts), width=0.62 * len(models) + 1.8, height=0.3 * len(scores) + 0.9
    )
    for axis, (metric, cohort) in zip(axes, product(GRID_METRICS, cohorts), strict=True):
        values = means([row for row in rows if row["cohort"] == cohort], metric)
        matrix = np.full((len(scores), len(models)), np.nan)
        for label, (model, score) in cells.items():
            matrix[scores.index(score), models.index(model)] = values.get(label, np.nan)
        if "AUROC" in metric:  # chance is white
            _heat(axis, matrix, scores, models, cmap="RdBu", vmin=0.0, vmax=1.0, digits=3)
        else:
            top = max(values.values(), default=1.0)
            _heat(axis, matrix, scores, models, cmap="Blues", vmin=0.0, vmax=top, digits=3)
        axis.set_title(f"{cohort}: {metric}", loc="left", fontsize=10)
    drawing.title(figure, f"{task}: score × model, the same weights down a column", fontsize=11)
    return drawing.save(figure, folder / f"grid-{task}.png")


def correlation_map(folder: Path, rows: Rows, name: str) -> Path | None:
    """Pearson correlation between metrics across methods (Fig. 10)."""
    names, matrix = correlations(_errors(rows), FIDELITY)
    if not names:
        return None
    figure, (axis,) = drawing.grid(1, 1, width=4.2, height=3.6)
    _heat(axis, matrix, names, names, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_title(f"{name}: correlation across methods", loc="left", fontsize=10)
    return drawing.save(figure, folder / f"correlation-{name}.png")


def orders(folder: Path, rows: Rows, name: str, data_set: str) -> list[Path]:
    """:func:`order` of every metric that a publication reports of a data set."""
    drawn = [order(folder, rows, name, data_set, metric) for metric in data_sets()[data_set]]
    return [path for path in drawn if path is not None]


def order(folder: Path, rows: Rows, name: str, data_set: str, metric: str = "AUPRC") -> Path | None:
    """Our rank of each of the publication's methods against its rank there, with Kendall's τ;
    without those that were trained too short.

    Args:
        folder: of the figures.
        rows: of one task and cohort.
        name: of both.
        data_set: the publication's.
        metric: its name there; the mean squared error is held against our mean absolute error of
            normal voxels.
    """
    short = undertrained(rows)
    theirs = data_sets()[data_set][metric]
    own = OURS.get(metric, metric)
    ours = {
        label: value for label, value in means(rows, own).items() if label in theirs and label not in short
    }
    found = kendall(ours, theirs)
    if found is None:
        return None
    tau, p, count = found
    chance = f"p = {p:.2f}" if p >= 0.01 else "p < 0.01"
    sign = 1 if own in HIGHER else -1
    mine, study = (
        {each: 1 + sum(sign * (values[other] - values[each]) > 0 for other in ours) for each in ours}
        for values in (ours, theirs)
    )
    colour = drawing.colours(rows)
    figure, (axis,) = drawing.grid(1, 1, width=6.2, height=5.6)
    axis.plot([1, count], [1, count], color=drawing.GRID, lw=6, zorder=0)
    for label in ours:
        axis.plot(study[label], mine[label], "o", color=colour[label], ms=6)
        side = 1 if study[label] <= count / 2 else -1  # names never leave the figure
        axis.annotate(
            label, (study[label], mine[label]), xytext=(6 * side, 0), textcoords="offset points", fontsize=7.5,
            ha="left" if side > 0 else "right", va="center",
        )  # fmt: skip
    axis.set(xlabel=f"rank in the study, {data_set}", ylabel=f"rank here, {name}")
    axis.set(xlim=(0.3, count + 0.7), ylim=(count + 0.8, 0.2))
    axis.set_title(
        f"Order by {own}: Kendall's τ = {tau:.2f} ({chance}, n = {count})", loc="left", fontsize=10.5
    )
    axis.set_xticks(range(1, count + 1, 2))
    axis.set_yticks(range(1, count + 1, 2))
    drawing.explain(figure, [row for row in rows if row["label"] in ours])
    which = "" if own == "AP" else "-" + own.replace(" ", "-")
    return drawing.save(figure, folder / f"order-{name}{which}.png")


def ranking(folder: Path, rows: Rows) -> Path | None:
    """Rank by AP of every method on every cohort, best mean rank first, with Kendall's W; of the
    methods that ran on all cohorts and were trained long enough.
    """
    rows = [row for row in rows if row["metric"] == "AP" and is_plain(row)]
    values = {
        (task, cohort): means([row for row in rows if (row["task"], row["cohort"]) == (task, cohort)], "AP")
        for task, cohort in dict.fromkeys((row["task"], row["cohort"]) for row in rows)
    }
    everywhere = {row["label"] for row in rows if all(row["label"] in own for own in values.values())}
    names = everywhere - undertrained(rows)
    if len(values) < 2 or len(names) < 3:
        return None
    places = ranks(values, names)
    order = sorted(names, key=lambda name: (np.mean(places[name]), name))
    down = [f"{name}  {np.mean(places[name]):.1f}" for name in order]
    figure, (axis,) = drawing.grid(1, 1, width=0.6 * len(values) + 3.2, height=0.24 * len(order) + 1.4)
    matrix = np.array([places[name] for name in order], dtype=float)
    across = [f"{task}: {cohort}" for task, cohort in values]
    _heat(axis, matrix, down, across, cmap="YlGnBu_r", vmin=1, vmax=len(order), digits=0)
    drawing.title(
        figure, f"Rank by AP, and mean rank; Kendall's W = {concordance(places):.2f}", fontsize=10.5
    )
    return drawing.save(figure, folder / "ranking.png")


def _heat(
    axis: Any,
    matrix: NDArray[np.float64],
    down: Sequence[str],
    across: Sequence[str],
    *,
    cmap: str,
    vmin: float,
    vmax: float,
    digits: int = 2,
) -> None:
    """A matrix as colours with its numbers; what is not a number stays blank."""
    image = axis.imshow(matrix, cmap=cmap, vmin=vmin, vmax=vmax, aspect="auto")
    axis.set_xticks(range(len(across)), across, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(down)), down, fontsize=8)
    axis.grid(visible=False)
    for (i, j), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            ink = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.6 else drawing.INK
            axis.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=ink)


def _errors(rows: Rows) -> Rows:
    """Rows whose map is a difference of images, so that its mean is an ℓ1 error."""
    return [row for row in rows if row.get("unit") == "intensity"]


def _name(axis: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside points, towards the middle and none over another; call when the limits are
    settled.
    """
    axis.autoscale_view()
    to_axes, free = axis.transData - axis.transAxes, 1.1
    for label, point in sorted(points.items(), key=lambda item: -item[1][1]):
        across, up = to_axes.transform(point)
        free = min(up, free - 0.055)
        side = -1 if across > 0.5 else 1
        axis.annotate(
            label, point, xytext=(across + 0.04 * side, free), textcoords="axes fraction", ha="left" if side > 0 else "right",
            va="center", fontsize=7, arrowprops={"arrowstyle": "-", "lw": 0.5, "color": drawing.MUTED},
        )  # fmt: skip
