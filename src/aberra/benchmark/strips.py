"""Pictures of a benchmark: the same slice of one case a cohort, as every method sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.benchmark import drawing
from aberra.files import atomic_path
from aberra.prepare.orient import Orient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.cohort import Cohort
    from aberra.volume import Volume

    Rows = Sequence[Mapping[str, Any]]

PANELS = 24
"""Most methods of a figure."""

COLUMNS = 8
"""Panels beside each other, the scan included."""


@dataclass(frozen=True)
class Picture:
    """One axial slice, radiological view.

    Attributes:
        case: whose.
        scan, truth, map: (H, W) each.
        restored: the healthy version, (H, W) in prepared intensities; empty where the method draws none.
        scale: map values of the colour scale, from healthy quantiles.
        aspect: height of a pixel / width.
    """

    case: str
    scan: NDArray[np.float32]
    truth: NDArray[np.bool]
    map: NDArray[np.float32]
    restored: NDArray[np.float32]
    scale: tuple[float, float]
    aspect: float

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
            )  # fmt: skip


def typical(per_case: Sequence[Mapping[str, Any]]) -> str:
    """Name of the case to show: median lesion load among those with lesions, so neither the easiest nor the hardest; else the first."""
    sick = sorted(
        (row for row in per_case if row.get("prevalence")),
        key=lambda row: (float(row["prevalence"]), row["case"]),
    )
    return str((sick or list(per_case))[(len(sick) - 1) // 2 if sick else 0]["case"])


def taken(maps: Path, cohort: Cohort, name: str) -> Picture:
    """The slice with the largest lesion area (else with the most foreground) of a case that was detected in ``maps``."""
    from aberra.result import Result

    case = next(case for case in cohort if case.case == name)
    result = Result.load(maps / name)
    scan = _view(case.read(list(case.channels)[:1]))
    found = _view(result.map)
    truth = np.zeros(scan.shape, np.bool) if scan.lesion is None else scan.lesion
    content = truth if truth.any() else scan.data[0] != 0
    place = int(content.sum(axis=(1, 2)).argmax())
    restored = None if result.reconstruction is None else _view(result.reconstruction).data[0, place]
    return Picture(
        case=name,
        scan=scan.data[0, place],
        truth=truth[place],
        map=found.data[0, place],
        restored=np.zeros((0, 0), np.float32) if restored is None else restored,
        scale=(result.scale["low"], result.scale["high"]),
        aspect=float(scan.spacing[1] / scan.spacing[2]),
    )


def _view(volume: Volume) -> Volume:
    return Orient(to="SPL")(volume)


def strip(folder: Path, pictures: Mapping[str, Picture], rows: Rows, name: str) -> Path | None:
    """Scan and truth, then every method's healthy version over its map, best AP first, on each method's own healthy colour scale.

    A method without a healthy version has the faded scan in its place.

    Args:
        folder: of the figure.
        pictures: label to picture, all of one cohort.
        rows: of the task, for the order.
        name: of task and cohort, for file and title.
    """
    if not pictures:
        return None
    order = [*(label for label in drawing.ordered(rows) if label in pictures)]
    labels = [*order, *(label for label in pictures if label not in order)][:PANELS]
    first = pictures[labels[0]]
    columns = min(COLUMNS, len(labels) + 1)
    blocks = -(-(len(labels) + 1) // columns)
    height = first.aspect * first.scan.shape[0] / first.scan.shape[1]
    figure, axes = drawing.grid(2 * blocks, columns, width=1.45, height=1.45 * height + 0.15)
    for axis in axes:
        axis.set_axis_off()
    for place, label in enumerate(["", *labels]):
        block, column = divmod(place, columns)
        upper, lower = (axes[(2 * block + half) * columns + column] for half in (0, 1))
        if not label:
            _grey(upper, first.scan, first.aspect)
            lower.imshow(
                first.truth, cmap="gray", vmin=0, vmax=1, aspect=first.aspect, interpolation="nearest"
            )
            upper.set_title("scan, truth", fontsize=7, color=drawing.INK)
            continue
        picture = pictures[label]
        drawn = picture.restored.size > 0
        _grey(
            upper, picture.restored if drawn else picture.scan, picture.aspect, alpha=1.0 if drawn else 0.35
        )
        low, high = picture.scale
        lower.imshow(
            picture.map, cmap="inferno", vmin=low, vmax=max(high, low + 1e-9), aspect=picture.aspect,
            interpolation="nearest",
        )  # fmt: skip
        if picture.truth.any():
            lower.contour(picture.truth, levels=[0.5], colors="#4de3c1", linewidths=0.6)
        upper.set_title(_short(label), fontsize=7, color=drawing.INK)
    drawing.title(
        figure,
        f"{name}, case {first.case}: healthy version above (the faded scan where there is none), map below, from the healthy 95 % quantile (black) to twice the 99.9 % (yellow)",
        fontsize=9,
    )
    return drawing.save(figure, folder / f"strip-{name}.png")


def _grey(axis: Any, values: NDArray[np.float32], aspect: float, alpha: float = 1.0) -> None:
    seen = values[values != 0]
    low, high = (float(end) for end in np.percentile(seen, [0.5, 99.5])) if seen.size else (0.0, 1.0)
    axis.imshow(
        values, cmap="gray", vmin=min(low, 0.0), vmax=max(high, low + 1e-6), aspect=aspect, interpolation="nearest",
        alpha=alpha,
    )  # fmt: skip


def _short(label: str) -> str:
    """A label in two lines of a narrow panel."""
    from textwrap import fill

    return fill(label, 20)
