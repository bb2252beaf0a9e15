"""The figures of an evaluation: one style, every threshold named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.files import atomic_path
from aberra.metrics.voxel import used_bins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.metrics.voxel import VoxelHistogram

INK, ACCENT, WARM, MUTED = "#22303c", "#1f6f8b", "#d1495b", "#9aa5b1"
POINTS = 400
"""Points a curve is drawn with."""


def blank(title: str, xlabel: str, ylabel: str) -> tuple[Any, Any]:
    """A figure and its axes in the house style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    return figure, axes


def finished(
    figure: Any, axes: Any, path: Path, *, legend: Mapping[str, Any] | None = None, **limits: Any
) -> str:
    """Write a figure, with a legend where something has a name; returns the file's name."""
    axes.set(**limits)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, **(legend or {}))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return path.name


def voxel_figures(
    folder: Path, histogram: VoxelHistogram, thresholds: dict[str, float], curve: dict[str, Any]
) -> list[str]:
    """Draw precision–recall, ROC, Dice against threshold and score histograms; nothing without
    positives.
    """
    used = used_bins(histogram.positives, histogram.negatives)[::-1]
    hits, misses = histogram.positives[used].astype(float), histogram.negatives[used].astype(float)
    if not hits.sum() or not misses.sum():
        return []
    scores = (used.astype(np.uint32) << histogram.shift).view(np.float32)
    true, false = hits.cumsum(), misses.cumsum()
    recall, rate = true / true[-1], false / false[-1]
    whole: dict[str, Any] = {"xlim": (0, 1), "ylim": (0, 1.02)}

    figure, axes = blank("Precision and recall, all voxels", "recall", "precision")
    pick = _thinned(recall)
    axes.plot(recall[pick], (true / (true + false))[pick], color=ACCENT, label=f"AP {curve['ap']:.3f}")
    axes.axhline(curve["prevalence"], color=MUTED, ls="--", label=f"prevalence {curve['prevalence']:.4f}")
    made = [finished(figure, axes, folder / "precision_recall.png", **whole)]

    figure, axes = blank("ROC, all voxels", "false-positive rate", "true-positive rate")
    pick = _thinned(rate)
    axes.plot(rate[pick], recall[pick], color=ACCENT, label=f"AUROC {curve['auroc']:.3f}")
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--")
    made.append(finished(figure, axes, folder / "roc.png", **whole))

    figure, axes = blank("Dice against threshold", "threshold", "Dice, pooled")
    dice = 2 * true / (true + false + true[-1])
    order = np.argsort(scores)
    pick = order[_thinned(scores[order])]
    axes.plot(scores[pick], dice[pick], color=ACCENT)
    best, top = curve["best_threshold"], curve["best_dice"]
    axes.plot(best, top, "o", color=WARM, label=f"⌈Dice⌉ {top:.3f} (uses the truth)")
    for index, (name, value) in enumerate(sorted(thresholds.items(), key=lambda item: item[1])):
        axes.axvline(value, color=MUTED, lw=0.8, ls=":")
        place = value, 0.98 - 0.055 * (index % 8)
        axes.annotate(name, place, xycoords=("data", "axes fraction"), fontsize=7, color=INK)
    right = max([best * 2, *thresholds.values()]) or 1
    legend = {"loc": "center right"}
    made.append(finished(figure, axes, folder / "dice.png", legend=legend, xlim=(0, right), ylim=(0, 1)))

    figure, axes = blank("Scores of normal and anomalous voxels", "score", "share of voxels")
    highest = float(np.quantile(scores, 0.995, weights=hits, method="inverted_cdf"))
    bins = np.linspace(0, max(highest, 1e-6), 80)
    for weights, colour, label in ((misses, MUTED, "normal"), (hits, WARM, "anomalous")):
        counts, _ = np.histogram(scores, bins, weights=weights / weights.sum())
        axes.stairs(counts, bins, fill=True, alpha=0.55, color=colour, label=label)
    return [*made, finished(figure, axes, folder / "score_histograms.png", yscale="log")]


def froc_figure(folder: Path, points: Sequence[tuple[float, float]]) -> list[str]:
    """Draw FROC; nothing without lesions."""
    if not points:
        return []
    figure, axes = blank("FROC", "false positives per scan", "lesions found (any overlap)")
    axes.plot(*zip(*points, strict=True), color=ACCENT, marker="o", ms=3)
    axes.set_xscale("symlog", linthresh=0.125)
    return [finished(figure, axes, folder / "froc.png", ylim=(0, 1.02), xlim=(0, None))]


def reliability_figure(folder: Path, found: dict[str, Any]) -> list[str]:
    """Draw the share of lesion against the probability told; nothing without probabilities."""
    if not found:
        return []
    figure, axes = blank("Reliability of the probabilities", "probability told", "share that is lesion")
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--")
    bins, label = found["bins"], f"ECE {found['ece']:.4f}, Brier {found['brier']:.4f}"
    axes.plot(bins["probability"], bins["lesion"], color=ACCENT, marker="o", ms=4, label=label)
    return [finished(figure, axes, folder / "reliability.png", xlim=(0, 1), ylim=(0, 1.02))]


def sparsification_figure(folder: Path, found: dict[str, Any]) -> list[str]:
    """Draw the error that is left, and the Dice, without the most uncertain voxels; nothing where
    nothing is wrong or unsure.
    """
    if not found or found["ause"] is None:
        return []
    title = "Without the most uncertain voxels"
    figure, axes = blank(title, "share of voxels rejected", "wrong voxels, relative")
    rejected, error, oracle = (
        np.array(found["sparsification"][key]) for key in ("rejected", "error", "oracle")
    )
    first = found["error"]
    axes.plot(rejected, error / first, color=ACCENT, label=f"this, AUSE {found['ause']:.3f}")
    axes.plot(rejected, oracle / first, color=INK, ls=":", label="oracle")
    axes.axhline(1.0, color=MUTED, ls="--", label=f"random, AUSE {found['ause_random']:.3f}")
    known = [(row["rejected"], row["dice"]) for row in found["dice_rejected"] if row["dice"] is not None]
    axes.plot(*np.array(known).T, color=WARM, marker="o", ms=3, label="Dice of the rest")
    axes.set_xscale("symlog", linthresh=1e-3)
    legend = {"fontsize": 8}
    return [finished(figure, axes, folder / "sparsification.png", legend=legend, xlim=(0, 1), ylim=(0, None))]


def case_figures(
    folder: Path, scores: NDArray[np.float64], labels: NDArray[np.bool], fpr: list[dict[str, Any]]
) -> list[str]:
    """Draw case scores by label, and realised against nominal false-positive rates."""
    figure, axes = blank("Case scores", "score", "cases")
    bins = np.histogram_bin_edges(scores, bins=min(30, max(8, scores.size // 4)))
    for chosen, colour, label in ((~labels, MUTED, "healthy"), (labels, WARM, "diseased")):
        if chosen.any():
            axes.hist(scores[chosen], bins, color=colour, alpha=0.6, label=f"{label} (n = {chosen.sum()})")
    made = [finished(figure, axes, folder / "case_scores.png")]
    if not fpr:
        return made
    figure, axes = blank("False-positive rate on healthy cases", "nominal", "realised")
    nominal, realised = (np.array([row[key] for row in fpr]) for key in ("nominal", "realised"))
    (bottom, top), (low, high) = (np.array([row[key] for row in fpr]).T for key in ("interval", "expected"))
    axes.fill_between(nominal, low, high, color=MUTED, alpha=0.25, label="95 % of Binomial(n, nominal)")
    spread, label = np.maximum([realised - bottom, top - realised], 0), f"healthy cases (n = {fpr[0]['n']})"
    axes.errorbar(nominal, realised, yerr=spread, fmt="o", color=ACCENT, capsize=3, label=label)
    axes.plot([0, nominal.max()], [0, nominal.max()], color=INK, ls="--", lw=0.8)
    limits = {"xlim": (0, nominal.max() * 1.1), "ylim": (0, None)}
    return [*made, finished(figure, axes, folder / "calibration.png", legend={"loc": "upper left"}, **limits)]


def _thinned(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices of about :data:`POINTS` points spread evenly over rising values."""
    targets = np.linspace(values[0], values[-1], POINTS)
    return np.unique(np.clip(np.searchsorted(values, targets), 0, len(values) - 1))
