"""Pictures of a case: input, healthy version and anomaly map in three planes, radiological
convention.
"""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.foreground import nonzero, shown
from aberra.prepare.orient import Orient

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.result import Result
    from aberra.volume import Volume

GROUND, TEXT, FOUND, TRUTH = "#10151b", "#d5dde5", "#ffffff", "#4de3c1"
HEIGHT = 2.1
"""Inches of a plane in the page's figure."""

DPI = 100
QUALITY = 82


@dataclass(frozen=True)
class Plane:
    """How a plane is cut out of an SPL volume.

    Attributes:
        name: as the reader calls it.
        axis: of the cut.
        flip: whether rows run towards the feet and must be turned.
        edges: letters at left, right, top and bottom.
    """

    name: str
    axis: int
    flip: bool
    edges: tuple[str, str, str, str]

    def cut(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """A slice of an array (D, H, W), with row 0 on top."""
        slab: NDArray[Any] = array.take(index, axis=self.axis)
        return slab[::-1] if self.flip else slab


PLANES = (
    Plane("axial", 0, flip=False, edges=("R", "L", "A", "P")),
    Plane("coronal", 1, flip=True, edges=("R", "L", "S", "I")),
    Plane("sagittal", 2, flip=True, edges=("A", "P", "S", "I")),
)

VIEWS = {"S": "axial", "P": "coronal", "L": "sagittal"}
"""Of an image, by the axis across it; it is turned so that this is the first one."""


def case_picture(result: Result, scan: Volume | None, truth: NDArray[np.bool] | None) -> tuple[str, str]:
    """Draw a case.

    Args:
        result: the case.
        scan: the input on the result's grid; None if its file is gone.
        truth: lesion mask on that grid, or None.

    Returns:
        A JPEG as data URI, and what it shows, for those who cannot see it.
    """
    from matplotlib.figure import Figure

    found = upright(result.map, result.mask)
    centre = _centre(result, found)
    columns: list[tuple[str, Volume | None]] = [("input", None if scan is None else upright(scan, truth))]
    if result.reconstruction is not None:
        columns.append(("healthy version", upright(result.reconstruction, None)))
    columns.append(("anomaly map", None))
    unsure = None if result.uncertainty is None else upright(result.uncertainty, result.mask)
    if unsure is not None:
        columns.append((f"uncertainty, 0 to {float(unsure.data.max()):.2g}", unsure))
    image = found.is_image
    planes = [replace(PLANES[0], name=VIEWS[result.map.standard[0]])] if image else list(PLANES)
    sizes = [_extent(found, plane) for plane in planes]
    scale = HEIGHT * (2.0 if image else 1.0)
    width = max(across / down for down, across in sizes) * scale
    size = width * len(columns) + 0.9, scale * len(planes) + 0.3
    figure = Figure(figsize=size, facecolor=GROUND, layout="constrained")
    axes = figure.subplots(len(planes), len(columns), squeeze=False)
    painted = None
    for row, plane in enumerate(planes):
        for column, (title, volume) in enumerate(columns):
            panel = axes[row, column]
            _dress(panel, plane, letters=not image)
            if row == 0:
                panel.set_title(title, color=TEXT, fontsize=9, loc="left")
            ground = columns[0][1] if title == "anomaly map" else volume
            if ground is not None:
                (_unsure if ground is unsure else _grey)(panel, ground, plane, centre)
            if title == "anomaly map":
                painted = _overlay(panel, found, plane, centre, result.scale)
                _outline(panel, found, plane, centre, FOUND)
            if columns[0][1] is not None and title != "healthy version":
                _outline(panel, columns[0][1], plane, centre, TRUTH)
    if painted is not None:
        bar = figure.colorbar(painted, ax=axes, shrink=0.6, pad=0.01, aspect=30, panchor=False)
        bar.ax.tick_params(colors=TEXT, labelsize=7)
        bar.outline.set_edgecolor(TEXT)
        bar.set_label("anomaly score", color=TEXT, fontsize=8)
    told = f"{', '.join(title for title, _ in columns)} in {', '.join(plane.name for plane in planes)} view"
    return _jpeg(figure), f"{result.case}: {told}; {len(result.components)} region(s) outlined"


def scan_picture(volume: Volume) -> tuple[str, str]:
    """Draw the first channel of a scan in three planes through the middle of its mask or
    foreground (an image as it is), mask and lesion outlined.

    Returns:
        As :func:`case_picture`.
    """
    from matplotlib.figure import Figure

    scan, truth = upright(volume, volume.mask), upright(volume, volume.lesion)
    inside = np.argwhere(scan.mask if scan.mask is not None and scan.mask.any() else nonzero(scan.data))
    d, h, w = (inside.min(axis=0) + inside.max(axis=0)) // 2 if len(inside) else np.array(scan.shape) // 2
    planes = list(PLANES[:1] if scan.is_image else PLANES)
    sizes = [_extent(scan, plane) for plane in planes]
    width = sum(across / down for down, across in sizes)
    figure = Figure(figsize=(width * HEIGHT, HEIGHT), facecolor=GROUND, layout="constrained")
    axes = figure.subplots(
        1, len(planes), squeeze=False, width_ratios=[across / down for down, across in sizes]
    )
    for panel, plane in zip(axes[0], planes, strict=True):
        _dress(panel, plane, letters=not scan.is_image)
        _grey(panel, scan, plane, (int(d), int(h), int(w)))
        _outline(panel, scan, plane, (int(d), int(h), int(w)), FOUND)
        _outline(panel, truth, plane, (int(d), int(h), int(w)), TRUTH)
    return _jpeg(figure), f"{volume.channels[0]} in {', '.join(plane.name for plane in planes)} view"


def thumbnail(result: Result, scan: Volume | None) -> str:
    """The slice with the highest score, map over scan, as a small JPEG data URI."""
    from matplotlib.figure import Figure

    found = upright(result.map, None)
    plane = PLANES[0]
    centre = _centre(result, found)
    down, across = _extent(found, plane)
    figure = Figure(figsize=(0.9 * across / down, 0.9), facecolor=GROUND)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    if scan is not None:
        _grey(axes, upright(scan, None), plane, centre)
    _overlay(axes, found, plane, centre, result.scale)
    return _jpeg(figure)


def upright(volume: Volume, mask: NDArray[np.bool] | None = None) -> Volume:
    """Reorient for display, with a mask to outline."""
    return Orient(to="SPL")(
        volume.with_(data=volume.data[:1], channels=volume.channels[:1], mask=mask, lesion=None)
    )


def _centre(result: Result, found: Volume) -> tuple[int, int, int]:
    """Where to cut: the largest region, else the highest score."""
    if result.components:
        place = result.map.affine @ [*result.components[0].centre_index, 1.0]
        index = np.linalg.inv(found.affine) @ place
        d, h, w = (
            int(np.clip(round(value), 0, length - 1))
            for value, length in zip(index[:3], found.shape, strict=True)
        )
        return d, h, w
    top = np.unravel_index(int(found.data[0].argmax()), found.shape)
    return int(top[0]), int(top[1]), int(top[2])


def _cut(array: NDArray[Any], plane: Plane, centre: tuple[int, int, int]) -> NDArray[Any]:
    return plane.cut(array, centre[plane.axis])


def _extent(volume: Volume, plane: Plane) -> tuple[float, float]:
    """Height and width of a plane in mm."""
    down, across = (volume.shape[axis] * volume.spacing[axis] for axis in range(3) if axis != plane.axis)
    return down, across


def _aspect(spacing: tuple[float, float, float], plane: Plane) -> float:
    down, across = (spacing[axis] for axis in range(3) if axis != plane.axis)
    return down / across


def _show(axes: Any, volume: Volume, plane: Plane, centre: tuple[int, int, int], **options: Any) -> Any:
    """Draw a plane of a volume's first channel in its own proportions."""
    return axes.imshow(_cut(volume.data[0], plane, centre), aspect=_aspect(volume.spacing, plane), **options)


def _grey(axes: Any, volume: Volume, plane: Plane, centre: tuple[int, int, int]) -> None:
    low, high = shown(volume.data)
    _show(axes, volume, plane, centre, cmap="gray", vmin=low, vmax=high)


def _overlay(
    axes: Any, found: Volume, plane: Plane, centre: tuple[int, int, int], scale: dict[str, float]
) -> Any:
    """The map on the fixed scale; transparent below its lower end, opaque in its upper third."""
    low, high = scale["low"], scale["high"]
    share = np.clip((_cut(found.data[0], plane, centre) - low) / (high - low), 0, 1)
    alpha = np.clip(1.5 * share, 0, 1)
    return _show(axes, found, plane, centre, cmap="inferno", vmin=low, vmax=high, alpha=alpha)


def _unsure(axes: Any, volume: Volume, plane: Plane, centre: tuple[int, int, int]) -> None:
    """The uncertainty on the case's own scale, from 0 to its highest: it has no healthy one.

    The mask is outlined.
    """
    top = max(float(volume.data.max()), 1e-9)
    _show(axes, volume, plane, centre, cmap="viridis", vmin=0.0, vmax=top)
    _outline(axes, volume, plane, centre, FOUND)


def _outline(axes: Any, volume: Volume, plane: Plane, centre: tuple[int, int, int], colour: str) -> None:
    """Draw the border of a volume's mask."""
    if volume.mask is None:
        return
    cut = _cut(volume.mask, plane, centre)
    if cut.any() and min(cut.shape) > 1:
        axes.contour(cut.astype(float), [0.5], colors=colour, linewidths=0.8)
        axes.set_aspect(_aspect(volume.spacing, plane))


def _dress(axes: Any, plane: Plane, *, letters: bool) -> None:
    """No ticks, dark ground, orientation letters."""
    axes.set(xticks=[], yticks=[], facecolor="black")
    axes.spines[:].set_visible(False)
    if letters:
        for letter, x, y in zip(plane.edges, (0.03, 0.97, 0.5, 0.5), (0.5, 0.5, 0.97, 0.03), strict=True):
            across = {0.03: "left", 0.97: "right"}.get(x, "center")
            upright = {0.03: "bottom", 0.97: "top"}.get(y, "center")
            axes.text(x, y, letter, transform=axes.transAxes, ha=across, va=upright, color=TEXT, fontsize=7)


def _jpeg(figure: Any) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()
