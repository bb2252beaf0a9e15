"""Pictures of a benchmark: the same slice of one case a cohort, as every method sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.benchmark import drawing
from aberra.benchmark.rows import CELL, file_name, means
from aberra.files import atomic_path
from aberra.prepare.orient import Orient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.cohort import Cohort

    Rows = Sequence[Mapping[str, Any]]

PANELS = 23
"""Most methods of a figure."""

COLUMNS = 6
"""Panels beside each other, the scan included."""


@dataclass(frozen=True)
class Picture:
    """One axial slice, radiological view.

    Attributes:
        case: whose.
        scan, truth, map: (H, W) each.
        restored: the healthy version, (H, W) in prepared intensities; empty where the method draws
            none.
        scale: map values of the colour scale, from healthy quantiles.
        aspect: height of a pixel / width.
        uncertainty: (H, W); empty where the method has none.
    """

    case: str
    scan: NDArray[np.float32]
    truth: NDArray[np.bool]
    map: NDArray[np.float32]
    restored: NDArray[np.float32]
    scale: tuple[float, float]
    aspect: float
    uncertainty: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def save(self, path: Path) -> None:
        """Write as ``.npz``, whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> Picture:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as found:
            low, high = found["scale"]
            return cls(
                str(found["case"]), found["scan"], found["truth"], found["map"], found["restored"],
                (float(low), float(high)), float(found["aspect"]),
                # a picture of an earlier version has none
                found["uncertainty"] if "uncertainty" in found else np.zeros((0, 0), np.float32),
            )  # fmt: skip


def typical(per_case: Sequence[Mapping[str, Any]]) -> str:
    """Name of the case to show: median lesion load among those with lesions, so neither the easiest
    nor the hardest; else the first that is diseased by its label; else the first.
    """
    sick = sorted(
        (row for row in per_case if row.get("prevalence")),
        key=lambda row: (float(row["prevalence"]), row["case"]),
    )
    if sick:
        return str(sick[(len(sick) - 1) // 2]["case"])
    labelled = [row for row in per_case if row.get("label")]
    return str((labelled or per_case)[0]["case"])


def taken(maps: Path, cohort: Cohort, name: str) -> Picture:
    """The slice with the largest lesion area (else with the most foreground) of a case that was
    detected in ``maps``.
    """
    from aberra.result import Result

    case = next(case for case in cohort if case.case == name)
    result = Result.load(maps / name)
    view = Orient(to="SPL")
    scan = view(case.read(list(case.channels)[:1]))
    found = view(result.map)
    truth = np.zeros(scan.shape, np.bool) if scan.lesion is None else scan.lesion
    content = truth if truth.any() else scan.data[0] != 0
    place = int(content.sum(axis=(1, 2)).argmax())
    restored, unsure = (
        np.zeros((0, 0), np.float32) if volume is None else view(volume).data[0, place]
        for volume in (result.reconstruction, result.uncertainty)
    )
    return Picture(
        case=name,
        scan=scan.data[0, place],
        truth=truth[place],
        map=found.data[0, place],
        restored=restored,
        scale=(result.scale["low"], result.scale["high"]),
        aspect=float(scan.spacing[1] / scan.spacing[2]),
        uncertainty=unsure,
    )


def strip(
    folder: Path, pictures: Mapping[str, Picture], rows: Rows, task: str, cohort: str, *, of: str = ""
) -> Path | None:
    """Scan and truth, then every method's healthy version over its map, best AP first; below it the
    uncertainty, where a method has one.

    A map's colours go from 0 to its 99.5th percentile in this slice, but not below the 95 %
    quantile of healthy scans, so that a map that is healthy everywhere stays dark.

    Args:
        folder: of the figure.
        pictures: label to picture, all of one cohort.
        rows: of the task: the order is that of all its cohorts, AP that of this one.
        task: for file and title.
        cohort: for file and title.
        of: the label that the pictures of a sweep share; they stay in their order.
    """
    if not pictures:
        return None
    name = f"{task}-{cohort}-{file_name(of)}" if of else f"{task}-{cohort}"
    ap = means([row for row in rows if row["cohort"] == cohort], "AP")
    written = drawing.shown(rows)
    order = [label for label in drawing.ordered(rows) if label in pictures and not of]
    labels = [*order, *(label for label in pictures if label not in order)][:PANELS]
    first = pictures[labels[0]]
    window = _window(first.scan)
    rows_shown, columns_shown = first.scan[window].shape
    columns = min(COLUMNS, len(labels) + 1)
    panels = ["", *labels]
    blocks = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    shown = [(block, part) for block in blocks for part in _parts(block, pictures)]
    height = first.aspect * rows_shown / columns_shown
    figure, axes = drawing.grid(len(shown), columns, width=1.9, height=1.9 * height + 0.2)
    for axis in axes:
        axis.set_axis_off()
    for row, (block, part) in enumerate(shown):
        highest = not row or shown[row - 1][0] is not block
        for axis, label in zip(axes[row * columns :], block, strict=False):
            _panel(axis, pictures[label] if label else first, part, window, scan=not label)
            reached = f" {ap[label]:.3f}" if label in ap else ""
            title = (
                fill(written.get(label, label).removeprefix(f"{of}{CELL}"), 22) if label else "scan, truth"
            )
            if highest:
                axis.set_title(f"{title}{reached}", fontsize=8, color=drawing.INK)
    unsure = any(part == "uncertainty" for _, part in shown)
    drawing.title(
        figure,
        f"{name}, case {first.case}, with AP on the cohort: healthy version above, map below (0 black; yellow the slice's 99.5 % quantile, at least the healthy 95 %), true lesions outlined{', uncertainty on its own scale' if unsure else ''}",
        fontsize=9,
    )
    return drawing.save(figure, folder / f"strip-{name}.png")


def _parts(block: Sequence[str], pictures: Mapping[str, Picture]) -> list[str]:
    """What the panels of a row have one above the other; the scan (no label) lies over its truth."""
    own = [pictures[label] for label in block if label]
    restored = "" in block or any(picture.restored.size for picture in own)
    unsure = any(picture.uncertainty.size for picture in own)
    return [*(["restored"] if restored else []), "map", *(["uncertainty"] if unsure else [])]


def _panel(axis: Any, picture: Picture, part: str, window: tuple[slice, slice], *, scan: bool) -> None:
    """Draw a part of a picture; of the scan, itself and the truth."""
    shape = {"aspect": picture.aspect, "interpolation": "nearest"}
    if scan and part == "restored":
        _grey(axis, picture.scan[window], picture.aspect)
    elif scan and part == "map":
        axis.imshow(picture.truth[window], cmap="gray", vmin=0, vmax=1, **shape)
    elif part == "restored" and picture.restored.size:
        _grey(axis, picture.restored[window], picture.aspect)
    elif part == "restored":
        rows, columns = picture.scan[window].shape
        axis.set_box_aspect(picture.aspect * rows / columns)
        where = {"ha": "center", "va": "center", "transform": axis.transAxes}
        axis.text(0.5, 0.5, "no healthy version", fontsize=7, color=drawing.MUTED, **where)
    elif part == "map":
        axis.imshow(picture.map[window], cmap="inferno", vmin=0.0, vmax=_top(picture), **shape)
        if picture.truth[window].any():
            axis.contour(picture.truth[window], levels=[0.5], colors="#4de3c1", linewidths=0.7)
    elif picture.uncertainty.size and not scan:
        axis.imshow(picture.uncertainty[window], cmap="viridis", vmin=0.0, **shape)


def _window(scan: NDArray[np.float32]) -> tuple[slice, slice]:
    """The part of a slice that is not background, and a rim."""
    seen = scan != 0
    if not seen.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(max(0, int(each[0]) - 2), int(each[-1]) + 3) for each in ends)
    return rows, columns


def _top(picture: Picture) -> float:
    """Map value of the brightest colour."""
    inside = picture.map[picture.scan != 0]
    seen = float(np.percentile(inside, 99.5)) if inside.size else 0.0
    return max(seen, picture.scale[0], 1e-9)


def _grey(axis: Any, values: NDArray[np.float32], aspect: float) -> None:
    seen = values[values != 0]
    low, high = (float(end) for end in np.percentile(seen, [0.5, 99.5])) if seen.size else (0.0, 1.0)
    ends = {"vmin": min(low, 0.0), "vmax": max(high, low + 1e-6)}
    axis.imshow(values, cmap="gray", aspect=aspect, interpolation="nearest", **ends)
