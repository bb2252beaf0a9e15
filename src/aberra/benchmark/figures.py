"""The figures of a benchmark, after the comparative study's: points, histograms, subjects, shift.

Others are in :mod:`aberra.benchmark.relations` and :mod:`aberra.benchmark.strips`.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.benchmark import drawing
from aberra.benchmark.relations import (
    complexity,
    correlation_map,
    fidelity,
    orders,
    ranking,
    score_grid,
    sweep,
)
from aberra.benchmark.rows import CHANCE, SHOWN_IN_TABLES, bar, is_plain, means, of_sweep, settings_of
from aberra.benchmark.strips import Picture, strip
from aberra.metrics.voxel import Residuals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]
    Key = tuple[str, str, str, int]

NORMAL, ANOMALOUS = "#1f6f8b", "#d1495b"
SHIFTED = "-shift"
MANTISSA = Residuals.BITS - 8
"""The maps' histograms have 2 ** MANTISSA equal bins between two powers of two."""


def write_figures(
    folder: Path,
    rows: Rows,
    histograms: Mapping[Key, Mapping[str, Sequence[float]]],
    *,
    pictures: Mapping[Key, Path] | None = None,
    compare: Mapping[str, Mapping[str, str]] | None = None,
    metrics: Sequence[str] = SHOWN_IN_TABLES,
    protocol: str = "",
) -> list[Path]:
    """Draw every figure that the rows have data for into ``figures/``; returns what was drawn.

    Args:
        folder: of the benchmark.
        rows: as in results.csv.
        histograms: of the cells.
        pictures: files of the cells that have one.
        compare: task to cohort to the data set of a publication whose order is compared.
        metrics: the suite's columns, which figures of sweeps show.
        protocol: the suite's, of metrics that depend on a threshold.
    """
    target = folder / "figures"
    drawn: list[Path | None] = [draw(target, rows) for draw in (subjects, complexity, ranking)]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        whole = [row for row in own if is_plain(row)]
        drawn += [draw(target, whole, task) for draw in (ap_points, domain_shift, score_grid)]
        for cohort in dict.fromkeys(row["cohort"] for row in own):
            there = [row for row in own if row["cohort"] == cohort]
            name = f"{task}-{cohort}"
            drawn.append(sweep(target, there, name, metrics=metrics, protocol=protocol))
            seen = {
                key[2]: path
                for key, path in (pictures or {}).items()
                if key[:2] == (task, cohort) and not key[3]
            }
            drawn += _strips(target, seen, own, task, cohort)
        for cohort in dict.fromkeys(row["cohort"] for row in whole if row["metric"] == "AP"):
            there = [row for row in whole if row["cohort"] == cohort]
            name = f"{task}-{cohort}"
            place = task, cohort
            bins = {key[2]: each for key, each in histograms.items() if key[:2] == place and not key[3]}
            written = drawing.shown(there)
            kept = {written[label]: bins[label] for label in drawing.ordered(there) if label in bins}
            drawn += [
                residual_histograms(target, kept, name),
                fidelity(target, there, name),
                correlation_map(target, there, name),
            ]
            data_set = (compare or {}).get(task, {}).get(cohort)
            if data_set:
                drawn += orders(target, there, name, data_set)
    return [path for path in drawn if path is not None]


def _strips(
    folder: Path, pictures: Mapping[str, Path], rows: Rows, task: str, cohort: str
) -> list[Path | None]:
    """One of the methods as they stand, and one of each sweep, in the order of its settings."""
    whole = [row for row in rows if is_plain(row)]
    plain = dict.fromkeys(row["label"] for row in whole)
    drawn = [
        strip(
            folder,
            {label: Picture.load(pictures[label]) for label in plain if label in pictures},
            whole,
            task,
            cohort,
        )
    ]
    settings = {row["label"]: (of_sweep(row), settings_of(row)) for row in rows if row.get("sweep")}
    for name in dict.fromkeys(name for name, _ in settings.values()):
        labels = [label for label, (of, _) in settings.items() if of == name and label in pictures]
        # numbers by size, and before words
        labels.sort(
            key=lambda label: [
                (key, isinstance(value, str), value) for key, value in settings[label][1].items()
            ]
        )
        drawn.append(
            strip(
                folder,
                {label: Picture.load(pictures[label]) for label in labels},
                rows,
                task,
                cohort,
                of=name,
            )
        )
    return drawn


def ap_points(folder: Path, rows: Rows, task: str) -> Path | None:
    """Average precision of every method, a panel a cohort, with intervals over patients.

    Lines are at the prevalence and at the plain threshold's best polarity, a band is the random
    map's interval. The axis is logarithmic, since APs go over two orders of magnitude and most
    methods are near the prevalence.
    """
    rows = [row for row in rows if row["metric"] == "AP" and row["value"] is not None]
    cohorts = list(dict.fromkeys(row["cohort"] for row in rows))
    if not cohorts:
        return None
    first = drawing.ordered([row for row in rows if row["cohort"] == cohorts[0]])
    labels = [*first, *(label for label in drawing.ordered(rows) if label not in first)][::-1]
    colour = drawing.colours(rows)
    figure, axes = drawing.grid(1, len(cohorts), width=4.6, height=0.22 * len(labels) + 1.9, left_only=True)
    for axis, cohort in zip(axes, cohorts, strict=True):
        own = [row for row in rows if row["cohort"] == cohort]
        values = means(own, "AP")
        spread = {row["label"]: (float(row["low"]), float(row["high"])) for row in _with_interval(own)}
        prevalence = float(own[0]["prevalence"] or 0)
        floor = 0.5 * min([value for value in (prevalence, *values.values()) if value > 0], default=0.01)
        for place, label in enumerate(labels):
            if label not in values:
                continue
            axis.scatter(max(values[label], floor), place, color=colour[label], s=26, zorder=3)
            if label in spread:
                low, high = (max(end, floor) for end in spread[label])
                axis.plot([low, high], [place, place], color=colour[label], lw=1.4)
        axis.axvline(prevalence, color=drawing.MUTED, ls=":", lw=1.2, label=f"prevalence {prevalence:.4f}")
        if CHANCE in spread:
            low, high = (max(end, floor) for end in spread[CHANCE])
            axis.axvspan(low, high, color=drawing.GRID, zorder=0, label="chance")
        best = bar(own)
        if best:
            axis.axvline(best[1], color=drawing.INK, ls="--", lw=1, label=f"{best[0]} {best[1]:.3f}")
        drawing.logarithmic(axis)
        axis.set_xlim(floor, 1)
        axis.set_title(cohort, loc="left", fontsize=11)
        axis.set_xlabel("AP")
        axis.legend(fontsize=8, loc="lower right", facecolor="white", edgecolor="none", framealpha=1)
    written = drawing.shown(rows)
    axes[0].set_yticks(range(len(labels)), [written[label] for label in labels], fontsize=8.5)
    axes[0].set_ylim(-0.6, len(labels) - 0.4)
    seeds = len({row["seed"] for row in rows})
    shown = "lines are 95 % intervals over patients" if seeds == 1 else f"mean of {seeds} seeds"
    drawing.explain(figure, rows)
    drawing.title(figure, f"{task}: voxel AP, {shown}")
    return drawing.save(figure, folder / f"ap-{task}.png")


def residual_histograms(
    folder: Path, histograms: Mapping[str, Mapping[str, Sequence[float]]], name: str
) -> Path | None:
    """How the map values above zero of normal and of anomalous voxels are spread over a logarithmic
    axis, a panel a method (Fig. 11).

    Each of the two is normalised by itself, over what is drawn; how many voxels are zero, and left
    out, is said beside it.
    """
    from matplotlib.ticker import LogFormatterSciNotation

    shown = {
        label: each
        for label, each in histograms.items()
        if any(edge > 0 and count for edge, count in zip(each["edges"], each["anomalous"], strict=True))
    }
    if not shown:
        return None
    columns = min(6, len(shown))
    figure, axes = drawing.grid(-(-len(shown) // columns), columns, width=2.3, height=1.8)
    for axis, (label, each) in zip(axes, shown.items(), strict=False):
        edges = np.asarray(each["edges"], dtype=float)
        used = edges > 0
        tops = edges[used] + np.exp2(np.floor(np.log2(edges[used])) - MANTISSA)
        both = np.add(each["normal"], each["anomalous"]).astype(float)
        # equally wide in the logarithm: shares of equal bins are comparable heights
        bins = np.linspace(_floor(both[used], np.log2(edges[used])), np.log2(tops[-1]), 40)
        for line, (kind, colour) in enumerate((("normal", NORMAL), ("anomalous", ANOMALOUS))):
            counts = np.asarray(each[kind], dtype=float)
            above = counts[used].sum()
            if not above:
                continue
            # voxels lie evenly within a bin of the map's histogram; counted whole, bins that ours
            # cut would look like a comb
            below = counts[used].cumsum()
            knots, steps = (
                np.column_stack(ends).ravel() for ends in ((edges[used], tops), (below - counts[used], below))
            )
            share = np.diff(np.interp(2**bins, knots, steps)) / above
            axis.stairs(share, 2**bins, color=colour, fill=True, alpha=0.45, label=kind)
            axis.text(
                0.03, 0.95 - 0.13 * line, f"{1 - above / counts.sum():.0%} zero", color=colour, fontsize=6.5,
                ha="left", va="top", transform=axis.transAxes,
            )  # fmt: skip
        if bins[-1] - bins[0] > np.log2(20):  # less than that need not have two powers of ten
            drawing.logarithmic(axis, LogFormatterSciNotation(labelOnlyBase=True), numticks=4)
        else:
            drawing.logarithmic(axis, subs=(1, 2, 5))
        axis.set_title(label, fontsize=8.5, loc="left")
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    drawing.title(figure, f"{name}: map values above zero, each class by itself, best AP first", fontsize=11)
    return drawing.save(figure, folder / f"histograms-{name}.png")


def subjects(folder: Path, rows: Rows) -> Path | None:
    """AP of every method by the share of training subjects, a panel a cohort (Fig. 8)."""
    partial = {(row["task"], row["cohort"], row["method"]) for row in rows if row["subjects"] < 1}
    chosen = [
        row
        for row in rows
        if row["metric"] == "AP"
        and row["value"] is not None
        and not row.get("sweep")
        and (row["task"], row["cohort"], row["method"]) in partial
        and (row["subjects"] < 1 or row["label"] == row["method"])
    ]
    panels = list(dict.fromkeys((row["task"], row["cohort"]) for row in chosen))
    if not panels:
        return None
    shares = sorted({float(row["subjects"]) for row in chosen})
    points: dict[tuple[tuple[str, str], str, float], list[Mapping[str, Any]]] = {}
    for row in chosen:
        key = (row["task"], row["cohort"]), row["method"], float(row["subjects"])
        points.setdefault(key, []).append(row)
    methods = sorted(
        {row["method"] for row in chosen},
        key=lambda method: _mean([row for row in chosen if row["method"] == method]),
    )
    height = 0.3 * len(methods) + 1.6
    figure, axes = drawing.grid(1, len(panels), width=4.2, height=height, left_only=True)
    shades = dict(zip(shares, drawing.shades(len(shares)), strict=True))
    for axis, panel in zip(axes, panels, strict=True):
        for (place, method), (step, share) in product(enumerate(methods), enumerate(shares)):
            own = points.get((panel, method, share))
            if own is None:
                continue
            at = place + 0.22 * ((len(shares) - 1) / 2 - step)
            ends = [float(row["value"]) for row in own]
            if len(own) == 1:  # its interval over patients
                ends = [float(row[end]) for row in _with_interval(own) for end in ("low", "high")]
            axis.plot(ends, [at] * len(ends), color=shades[share], lw=1.2)
            axis.plot(_mean(own), at, "o", color=shades[share], ms=5)
        axis.set_title(": ".join(panel), loc="left", fontsize=10)
        axis.set_xlabel("AP")
        axis.set_xlim(left=0)
    axes[0].set_yticks(range(len(methods)), methods, fontsize=8.5)
    axes[0].set_ylim(-0.6, len(methods) - 0.4)
    drawing.legend(figure, {f"{share:.0%} of the training subjects": shades[share] for share in shares})
    seeds = len({row["seed"] for row in chosen})
    lines = "95 % intervals over patients, one training each" if seeds == 1 else f"range of {seeds} seeds"
    drawing.title(figure, f"AP by the share of training subjects; lines: {lines}", fontsize=10)
    return drawing.save(figure, folder / "subjects.png")


def domain_shift(folder: Path, rows: Rows, task: str) -> Path | None:
    """Error of normal voxels on a cohort and on its shifted sibling (named ``…-shift``), ratio
    beside it.
    """
    cohorts = {row["cohort"] for row in rows}
    pairs = sorted(cohort for cohort in cohorts if cohort + SHIFTED in cohorts)
    if not pairs:
        return None
    colour = drawing.colours(rows)
    written = drawing.shown(rows)
    height = 0.27 * len({row["label"] for row in rows}) + 1.6
    figure, axes = drawing.grid(1, len(pairs), width=5.4, height=height)
    for axis, cohort in zip(axes, pairs, strict=True):
        own, moved = (
            means([row for row in rows if row["cohort"] == each], "l1-RE_N")
            for each in (cohort, cohort + SHIFTED)
        )
        ratios = {label: moved[label] / own[label] for label in own if label in moved and own[label]}
        labels = sorted(ratios, key=lambda each: ratios[each])
        for place, label in enumerate(labels):
            axis.plot([1, ratios[label]], [place, place], color=colour[label], lw=2)
            axis.plot(ratios[label], place, "o", color=colour[label], ms=5)
        axis.axvline(1, color=drawing.INK, lw=0.8)
        axis.set_yticks(range(len(labels)), [written[label] for label in labels], fontsize=8.5)
        axis.set_ylim(-0.6, len(labels) - 0.4)
        axis.set_xlabel(f"l1-RE_N on {cohort}{SHIFTED} / on {cohort}")
        axis.set_title(cohort, loc="left", fontsize=11)
    drawing.explain(figure, rows)
    drawing.title(figure, f"{task}: healthy tissue under another scanner")
    return drawing.save(figure, folder / f"shift-{task}.png")


def _floor(counts: NDArray[np.float64], log: NDArray[np.float64]) -> float:
    """Logarithm below which one voxel in a hundred lies: what is darker would only stretch the
    axis.
    """
    share = counts.cumsum() / max(counts.sum(), 1)
    return float(log[min(int(np.searchsorted(share, 0.01)), len(log) - 1)])


def _mean(rows: Rows) -> float:
    return float(np.mean([row["value"] for row in rows]))


def _with_interval(rows: Rows) -> list[Mapping[str, Any]]:
    """Rows that have an interval; none where there are several seeds, whose mean it need not hold."""
    if len({row["seed"] for row in rows}) > 1:
        return []
    return [row for row in rows if row.get("low") is not None]
