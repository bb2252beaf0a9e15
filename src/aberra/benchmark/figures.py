"""The figures of a benchmark, after the comparative study's: bars, histograms, subjects, complexity, fidelity, shift, order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.benchmark.statistics import correlations, kendall, published
from aberra.files import atomic_path
from aberra.metrics.voxel import Residuals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]
    Key = tuple[str, str, str, int]

INK, MUTED, GRID = "#22303c", "#9aa5b1", "#e3e8ec"
NORMAL, ANOMALOUS = "#1f6f8b", "#d1495b"
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

FIDELITY = ("AP", "⌈Dice⌉", "l1-RE_N", "l1-RE_A", "chi2")
"""Metrics of the correlation maps (the study's Fig. 10)."""

BASELINE = "intensity"
SHIFTED = "-shift"
PANELS = 24
"""Most panels of the histogram figure."""
MANTISSA = Residuals.BITS - 8
"""The maps' histograms have 2 ** MANTISSA equal bins between two powers of two."""


def write_figures(
    folder: Path,
    rows: Rows,
    histograms: Mapping[Key, Mapping[str, Sequence[float]]],
    *,
    compare: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Path]:
    """Draw every figure that the rows have data for into ``figures/``; returns what was drawn.

    Args:
        folder: of the benchmark.
        rows: as in results.csv.
        histograms: of the cells.
        compare: task to cohort to the study's data set whose order is compared.
    """
    target = folder / "figures"
    drawn: list[Path | None] = [subjects(target, rows), complexity(target, rows)]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        whole = [row for row in own if row["subjects"] == 1]
        drawn += [ap_bars(target, whole, task), domain_shift(target, whole, task)]
        for cohort in dict.fromkeys(row["cohort"] for row in whole if row["metric"] == "AP"):
            there = [row for row in whole if row["cohort"] == cohort]
            name = f"{task}-{cohort}"
            bins = {
                key[2]: value for key, value in histograms.items() if key[:2] == (task, cohort) and not key[3]
            }
            kept = {label: bins[label] for label in _ordered(there) if label in bins}
            drawn += [
                residual_histograms(target, kept, name),
                fidelity(target, there, name),
                correlation_map(target, there, name),
            ]
            data_set = (compare or {}).get(task, {}).get(cohort)
            if data_set:
                drawn.append(order(target, there, name, data_set))
    return [path for path in drawn if path is not None]


def ap_bars(folder: Path, rows: Rows, task: str) -> Path | None:
    """Average precision of every method, a panel a cohort, with intervals over patients; lines at M0 and the prevalence."""
    cohorts = list(dict.fromkeys(row["cohort"] for row in rows if row["metric"] == "AP"))
    if not cohorts:
        return None
    first = _ordered([row for row in rows if row["cohort"] == cohorts[0]])
    labels = [*first, *(label for label in _ordered(rows) if label not in first)][::-1]
    figure, axes = _grid(1, len(cohorts), width=4.6, height=0.27 * len(labels) + 1.6, left_only=True)
    for axis, cohort in zip(axes, cohorts, strict=True):
        own = [row for row in rows if row["cohort"] == cohort]
        values, spread = _values(own, "AP"), _spread(own)
        for place, label in enumerate(labels):
            if label not in values:
                continue
            axis.barh(place, values[label], color=_colour(label), height=0.72)
            if label in spread:
                low, high = spread[label]
                axis.plot([low, high], [place, place], color=INK, lw=1.1)
        prevalence = float(own[0]["prevalence"] or 0)
        axis.axvline(prevalence, color=MUTED, ls=":", lw=1.2, label=f"prevalence {prevalence:.4f}")
        if BASELINE in values:
            axis.axvline(values[BASELINE], color=INK, ls="--", lw=1, label=f"M0 {values[BASELINE]:.3f}")
        axis.set_title(cohort, loc="left", fontsize=11)
        axis.set_xlabel("AP")
        axis.legend(fontsize=8, loc="lower right", facecolor="white", edgecolor="none", framealpha=1)
    axes[0].set_yticks(range(len(labels)), labels, fontsize=8.5)
    axes[0].set_ylim(-0.6, len(labels) - 0.4)
    seeds = len({row["seed"] for row in rows})
    told = "lines are 95 % intervals over patients" if seeds == 1 else f"mean of {seeds} seeds"
    figure.suptitle(f"{task}: voxel AP, {told}", x=0.01, ha="left", fontsize=12)
    return _save(figure, folder / f"ap-{task}.png")


def residual_histograms(
    folder: Path, histograms: Mapping[str, Mapping[str, Sequence[float]]], name: str
) -> Path | None:
    """Densities of map values of normal and anomalous voxels over a logarithmic axis, a panel a method (Fig. 11)."""
    shown = {
        label: each
        for label, each in histograms.items()
        if any(edge > 0 and count for edge, count in zip(each["edges"], each["anomalous"], strict=True))
    }
    if not shown:
        return None
    shown = dict(list(shown.items())[:PANELS])
    columns = min(6, len(shown))
    figure, axes = _grid(-(-len(shown) // columns), columns, width=2.3, height=1.8)
    for axis, (label, each) in zip(axes, shown.items(), strict=False):
        edges = np.asarray(each["edges"], dtype=float)
        used = edges > 0
        tops = edges[used] + np.exp2(np.floor(np.log2(edges[used])) - MANTISSA)
        both = np.add(each["normal"], each["anomalous"]).astype(float)
        # equally wide in the logarithm: shares of equal bins are comparable heights
        bins = np.linspace(_floor(both[used], np.log2(edges[used])), np.log2(tops[-1]), 40)
        for kind, colour in (("normal", NORMAL), ("anomalous", ANOMALOUS)):
            counts = np.asarray(each[kind], dtype=float)
            if not counts[used].sum():
                continue
            # voxels lie evenly within a bin of the map's histogram; counted whole, bins that ours cut would look like a comb
            below = counts[used].cumsum()
            knots, steps = (
                np.column_stack(ends).ravel() for ends in ((edges[used], tops), (below - counts[used], below))
            )
            share = np.diff(np.interp(2**bins, knots, steps)) / counts.sum()
            axis.stairs(share, 2**bins, color=colour, fill=True, alpha=0.45, label=kind)
        axis.set_xscale("log")
        axis.set_title(label, fontsize=8.5, loc="left")
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    axes[0].legend(frameon=False, fontsize=7)
    figure.suptitle(f"{name}: map values (zeros left out), best AP first", x=0.01, ha="left", fontsize=11)
    return _save(figure, folder / f"histograms-{name}.png")


def subjects(folder: Path, rows: Rows) -> Path | None:
    """AP against the share of training subjects, a panel a cohort (Fig. 8)."""
    partial = {(row["task"], row["cohort"], row["method"]) for row in rows if row["subjects"] < 1}
    chosen = [
        row
        for row in rows
        if row["metric"] == "AP"
        and (row["task"], row["cohort"], row["method"]) in partial
        and (row["subjects"] < 1 or row["label"] == row["method"])
    ]
    panels = list(dict.fromkeys((row["task"], row["cohort"]) for row in chosen))
    if not panels:
        return None
    figure, axes = _grid(1, len(panels), width=4.2, height=3.4)
    for axis, panel in zip(axes, panels, strict=True):
        own = [row for row in chosen if (row["task"], row["cohort"]) == panel]
        for index, method in enumerate(sorted({row["method"] for row in own})):
            points: dict[float, list[float]] = {}
            for row in own:
                if row["method"] == method:
                    points.setdefault(float(row["subjects"]), []).append(float(row["value"]))
            shares = sorted(points)
            means = [float(np.mean(points[share])) for share in shares]
            style = ("o-", "s--", "^-.", "D:")[index % 4]
            axis.plot(
                [100 * share for share in shares], means, style, label=method, color=_colour(method), ms=5
            )
        axis.set_title(": ".join(panel), loc="left", fontsize=10)
        axis.set(xlabel="% of the training subjects", ylabel="AP", xlim=(0, 105))
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder / "subjects.png")


def complexity(folder: Path, rows: Rows) -> Path | None:
    """AP against the number of parameters; lines join the unified and the original network of a method (Fig. 9)."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    originals = {
        (row["task"], row["cohort"], row["method"]): row
        for row in rows
        if row["metric"] == "AP" and row["label"].endswith("original network")
    }
    panels = list(dict.fromkeys(key[:2] for key in originals))
    if not panels:
        return None
    figure, axes = _grid(1, len(panels), width=4.2, height=3.6)
    for axis, panel in zip(axes, panels, strict=True):
        own = [
            row
            for row in rows
            if row["metric"] == "AP" and (row["task"], row["cohort"]) == panel and row["subjects"] == 1
        ]
        unified = {row["method"]: row for row in own if row["label"] == row["method"] and row["parameters"]}
        markers = iter("os^Dv<>ph*" * len(unified))
        for method, row in unified.items():
            colour = _colour(method)
            other = originals.get((*panel, method))
            if other is None:
                axis.plot(row["parameters"], row["value"], "o", color=GRID, ms=5, zorder=0)
                continue
            ends = [[each[key] for each in (row, other)] for key in ("parameters", "value")]
            axis.plot(*ends, "-", color=colour, lw=1.2)
            marker = next(markers)
            axis.plot(row["parameters"], row["value"], marker, color=colour, ms=6, label=method)
            axis.plot(other["parameters"], other["value"], marker, color=colour, ms=6, mfc="white")
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(": ".join(panel), loc="left", fontsize=10)
        axis.set(xlabel="parameters (filled unified, open original)", ylabel="AP")
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder / "complexity.png")


def fidelity(folder: Path, rows: Rows, name: str) -> Path | None:
    """AP against the error of normal voxels, of anomalous ones and the distance of their histograms (study, section on fidelity)."""
    ap = _values(rows, "AP")
    panels = [
        (metric, values)
        for metric in FIDELITY[2:]
        if len(values := {k: v for k, v in _values(rows, metric).items() if k in ap and _is_error(k)}) > 2
    ]
    if not panels:
        return None
    figure, axes = _grid(1, len(panels), width=4.0, height=3.6)
    for axis, (metric, values) in zip(axes, panels, strict=True):
        labels = list(values)
        x, y = np.array([values[each] for each in labels]), np.array([ap[each] for each in labels])
        for label, a, b in zip(labels, x, y, strict=True):
            axis.plot(a, b, "o", color=_colour(label), ms=5)
        axis.margins(0.08)
        axis.locator_params(axis="x", nbins=5)
        _name(
            axis, {each: (values[each], ap[each]) for each in sorted(labels, key=lambda each: -ap[each])[:4]}
        )
        r = float(np.corrcoef(x, y)[0, 1]) if x.std() and y.std() else float("nan")
        axis.set_title(f"{metric}, r = {r:.2f} (n = {len(labels)})", loc="left", fontsize=10)
        axis.set(xlabel=metric, ylabel="AP")
    figure.suptitle(f"{name}: methods whose map is a difference of images", x=0.01, ha="left", fontsize=11)
    return _save(figure, folder / f"fidelity-{name}.png")


def correlation_map(folder: Path, rows: Rows, name: str) -> Path | None:
    """Pearson correlation between metrics across methods (Fig. 10)."""
    names, matrix = correlations([row for row in rows if _is_error(row["label"])], FIDELITY)
    if not names:
        return None
    figure, (axis,) = _grid(1, 1, width=4.2, height=3.6)
    axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.grid(visible=False)
    for (i, j), value in np.ndenumerate(matrix):
        axis.text(
            j,
            i,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if abs(value) > 0.6 else INK,
        )
    axis.set_title(f"{name}: correlation across methods", loc="left", fontsize=10)
    return _save(figure, folder / f"correlation-{name}.png")


def domain_shift(folder: Path, rows: Rows, task: str) -> Path | None:
    """Error of normal voxels on a cohort and on its shifted sibling (named ``…-shift``), ratio beside it."""
    cohorts = {row["cohort"] for row in rows}
    pairs = sorted(cohort for cohort in cohorts if cohort + SHIFTED in cohorts)
    if not pairs:
        return None
    figure, axes = _grid(1, len(pairs), width=5.4, height=0.27 * len({row["label"] for row in rows}) + 1.6)
    for axis, cohort in zip(axes, pairs, strict=True):
        own, moved = (
            _values([row for row in rows if row["cohort"] == each], "l1-RE_N")
            for each in (cohort, cohort + SHIFTED)
        )
        ratios = {label: moved[label] / own[label] for label in own if label in moved and own[label]}
        labels = sorted(ratios, key=lambda each: ratios[each])
        for place, label in enumerate(labels):
            axis.plot([1, ratios[label]], [place, place], color=_colour(label), lw=2)
            axis.plot(ratios[label], place, "o", color=_colour(label), ms=5)
        axis.axvline(1, color=INK, lw=0.8)
        axis.set_yticks(range(len(labels)), labels, fontsize=8.5)
        axis.set_xlabel(f"l1-RE_N on {cohort}{SHIFTED} / on {cohort}")
        axis.set_title(cohort, loc="left", fontsize=11)
    figure.suptitle(f"{task}: healthy tissue under another scanner", x=0.01, ha="left", fontsize=12)
    return _save(figure, folder / f"shift-{task}.png")


def order(folder: Path, rows: Rows, name: str, data_set: str) -> Path | None:
    """Our rank of each of the study's methods against its rank there, with Kendall's τ."""
    theirs = published()["baur2021"]["AUPRC"][data_set]
    ours = {label: value for label, value in _values(rows, "AP").items() if label in theirs}
    found = kendall(ours, theirs)
    if found is None:
        return None
    tau, p, count = found
    chance = f"p = {p:.2f}" if p >= 0.01 else "p < 0.01"
    mine, study = (
        {each: 1 + sum(values[other] > values[each] for other in ours) for each in ours}
        for values in (ours, theirs)
    )
    figure, (axis,) = _grid(1, 1, width=5.6, height=5.2)
    axis.plot([1, count], [1, count], color=GRID, lw=6, zorder=0)
    for label in ours:
        axis.plot(study[label], mine[label], "o", color=_colour(label), ms=6)
        axis.annotate(
            label, (study[label], mine[label]), xytext=(5, 4), textcoords="offset points", fontsize=7.5
        )
    axis.set(
        xlabel=f"rank in the study, {data_set}",
        ylabel=f"rank here, {name}",
        xlim=(0.3, count + 3.2),
        ylim=(count + 0.8, 0.2),
    )
    axis.set_title(f"Order by AP: Kendall's τ = {tau:.2f} ({chance}, n = {count})", loc="left", fontsize=10.5)
    axis.set_xticks(range(1, count + 1, 2))
    axis.set_yticks(range(1, count + 1, 2))
    return _save(figure, folder / f"order-{name}.png")


def _floor(counts: NDArray[np.float64], log: NDArray[np.float64]) -> float:
    """Logarithm below which one voxel in a hundred lies: what is darker would only stretch the axis."""
    share = counts.cumsum() / max(counts.sum(), 1)
    return float(log[min(int(np.searchsorted(share, 0.01)), len(log) - 1)])


_OTHER_SCALE = ("intensity", "random", "constant", "zmap", "ocsvm")
_OTHER_SCORES = ("grad", "combi", "variance", "ssim", "slice ")
"""Rows, and parts of the labels of rows, whose map is no difference between images, so that its mean is no ℓ1 error."""


def _is_error(label: str) -> bool:
    return label not in _OTHER_SCALE and not any(part in label for part in _OTHER_SCORES)


def _name(axis: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside points, towards the middle and none over another; call when the limits are settled."""
    axis.autoscale_view()
    to_axes, free = axis.transData - axis.transAxes, 1.1
    for label, point in sorted(points.items(), key=lambda item: -item[1][1]):
        across, up = to_axes.transform(point)
        free = min(up, free - 0.055)
        side = -1 if across > 0.5 else 1
        axis.annotate(
            label,
            point,
            xytext=(across + 0.04 * side, free),
            textcoords="axes fraction",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": MUTED},
        )


def _values(rows: Rows, metric: str) -> dict[str, float]:
    """Mean over seeds by label."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["metric"] == metric and row["value"] is not None:
            found.setdefault(row["label"], []).append(float(row["value"]))
    return {label: float(np.mean(values)) for label, values in found.items()}


def _spread(rows: Rows) -> dict[str, tuple[float, float]]:
    """Interval of AP by label; none where there are several seeds, whose mean it need not hold."""
    if len({row["seed"] for row in rows}) > 1:
        return {}
    return {
        row["label"]: (float(row["low"]), float(row["high"]))
        for row in rows
        if row["metric"] == "AP" and row.get("low") is not None
    }


def _ordered(rows: Rows) -> list[str]:
    """Labels, best AP first."""
    values = _values(rows, "AP")
    return sorted(values, key=lambda label: -values[label])


def _colour(label: str) -> str:
    return next((colour for part, colour in FAMILIES if part in label), MUTED)


def _grid(
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


def _save(figure: Any, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return path
