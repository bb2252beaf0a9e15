"""Pictures of a case to scroll through: every few millimetres a slice of the scan, its healthy
version and its map, in three planes, and the outlines of its objects.

A layer is one WebP with all slices as tiles, so that a case is four files. ``case.js`` says where the
tiles lie and where they are in the scan; it is a call, since a page that is opened as a file may load
scripts and pictures and nothing else. Nothing in it tells how an object scored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.files import atomic_path, write_text
from aberra.foreground import EVERYWHERE, box_of, greys, nonzero, shown
from aberra.report.panels import PLANES, VIEWS, upright
from aberra.result import SCANS_OWN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.report.panels import Plane
    from aberra.result import Result
    from aberra.volume import Volume

VERSION = 1
"""Of the files of a case; another one is made again."""

STEP_MM = 3.0
"""Distance of neighbouring slices, at most, where the scan has them that near."""

EDGE = 320
"""Longest edge of a slice in pixels; larger ones are made smaller."""

WIDTH = 4096
"""Of a picture, at most: WebP has 16,383 pixels."""

MARGIN = 3
"""Voxels left around what is shown."""

QUALITY = 82
LEVEL = 8
"""Of 256 steps of the map's colours one in this many is told apart: a third of the bytes."""

UNITS = 4096
"""An outline's coordinates are whole numbers of this part of a slice's edge."""

PICTURES = ("scan.webp", "healthy.webp", "map.webp")
SAID = "case.js"


@dataclass(frozen=True)
class _Tiles:
    """Where the slices of a plane lie in a picture.

    Attributes:
        plane: how it is cut.
        slices: indices along the plane's axis.
        size: width and height of a tile in pixels.
        columns: tiles in a row.
        top: first row of pixels.
    """

    plane: Plane
    slices: range
    size: tuple[int, int]
    columns: int
    top: int

    @property
    def height(self) -> int:
        return -(-len(self.slices) // self.columns) * self.size[1]


def write_stacks(
    folder: Path, result: Result, *, key: str, name: str, places: Mapping[str, Any], threshold: float
) -> None:
    """Write a case's pictures and ``case.js``, whole or not at all.

    Args:
        folder: of the case.
        result: of ``aberra detect``.
        key: what the pictures depend on, for :func:`stacks_key`.
        name: what the page calls the case.
        places: identifier of each object to its centre (x, y, z) in mm.
        threshold: at which the map was cut into objects.

    Raises:
        InputError: the scan is gone or has changed.
    """
    map_ = upright(result.map)
    scan = upright(_scan(result))
    box = _box(scan, map_)
    grid = map_.with_(data=map_.data[:, *box], affine=_shifted(map_.affine, box))
    tiles = _layout(
        grid, [replace(PLANES[0], name=VIEWS[result.map.standard[0]])] if map_.is_image else PLANES
    )
    window = shown(scan.data)
    layers = {"scan.webp": _grey(scan.data[0][box], window, tiles)}
    if result.reconstruction is not None:
        healthy = upright(result.reconstruction)
        own = result.input.get(SCANS_OWN)
        of_healthy = window if own else _alike(window, scan.data[0], healthy.data[0], map_.data[0] > 0)
        there = healthy.data[0][box]  # 0 where there is none, which prepared may be any grey
        layers["healthy.webp"] = _grey(np.where(there == 0, of_healthy[0], there), of_healthy, tiles)
    layers["map.webp"] = _heat(grid.data[0], result.scale, tiles)
    said = _said(grid, tiles) | {
        "layers": sorted(layer.removesuffix(".webp") for layer in layers),
        "outlines": _outlines(grid, places, threshold, tiles),
    }
    with atomic_path(folder, last=SAID) as temporary:
        temporary.mkdir()
        for layer, picture in layers.items():
            picture.save(temporary / layer, quality=QUALITY, method=2)
        text = json.dumps(said, separators=(",", ":"), allow_nan=False)
        write_text(temporary / SAID, f"/*{key}*/aberraCase({json.dumps(name)},{text});\n")


def stacks_key(folder: Path) -> str | None:
    """What the pictures in a folder were made of; None where they are not finished."""
    try:
        with (folder / SAID).open(encoding="utf-8") as file:
            head = file.read(64)
    except (OSError, UnicodeDecodeError):
        return None
    return head[2 : head.index("*/")] if head.startswith("/*") and "*/" in head else None


def _scan(result: Result) -> Volume:
    """The scan on the result's grid.

    Raises:
        InputError: it is gone or has changed.
    """
    from aberra.io import onto, read

    path = next(iter(result.paths.values()), "")
    if not path:
        raise InputError(f"{result.case}: the result does not say where the scan is; detect again")
    scan = onto(read(path), result.map)
    if scan is None:
        raise InputError(f"{path}: the scan has changed since detection; run `aberra detect` again")
    return scan


def _box(scan: Volume, map_: Volume) -> tuple[slice, slice, slice]:
    """What is shown: all that is not background, and a margin."""
    seen = nonzero(scan.data) | (map_.data[0] > 0)
    parts = box_of(seen) if seen.any() else tuple(slice(0, length) for length in seen.shape)
    d, h, w = (
        slice(max(0, part.start - MARGIN), min(part.stop + MARGIN, length))
        for part, length in zip(parts, seen.shape, strict=True)
    )
    return d, h, w


def _shifted(affine: NDArray[np.float64], box: tuple[slice, ...]) -> NDArray[np.float64]:
    """The affine of a part of a volume."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return moved


def _layout(grid: Volume, planes: Any) -> list[_Tiles]:
    """Planes below each other, each with as many tiles a row as fit."""
    tiles = list[_Tiles]()
    top = 0
    for plane in planes:
        rows, columns = (grid.shape[axis] for axis in range(3) if axis != plane.axis)
        smaller = min(1.0, EDGE / max(rows, columns))
        size = max(1, round(columns * smaller)), max(1, round(rows * smaller))
        step = max(1, int(STEP_MM / grid.spacing[plane.axis] + 1e-3))
        slices = range(min(step // 2, grid.shape[plane.axis] - 1), grid.shape[plane.axis], step)
        tiles.append(_Tiles(plane, slices, size, max(1, min(len(slices), WIDTH // size[0])), top))
        top += tiles[-1].height
    return tiles


def _tiled(values: NDArray[np.uint8], tiles: list[_Tiles]) -> NDArray[np.uint8]:
    """All slices of a volume (D, H, W) in one picture (rows, columns)."""
    from PIL import Image

    canvas = np.zeros((sum(each.height for each in tiles), max(each.columns * each.size[0] for each in tiles)), np.uint8)  # fmt: skip
    for each in tiles:
        width, height = each.size
        for number, index in enumerate(each.slices):
            row, column = divmod(number, each.columns)
            tile = np.ascontiguousarray(each.plane.cut(values, index))
            if tile.shape != (height, width):
                tile = np.asarray(Image.fromarray(tile).resize((width, height), Image.Resampling.BILINEAR))
            y, x = each.top + row * height, column * width
            canvas[y : y + height, x : x + width] = tile
    return canvas


def _alike(
    window: tuple[float, float],
    scan: NDArray[np.float32],
    healthy: NDArray[np.float32],
    inside: NDArray[np.bool],
) -> tuple[float, float]:
    """The scan's window in prepared intensities: the quartiles of both are drawn alike where the map
    is not 0.
    """
    if not inside.any():
        return greys(healthy[healthy != 0])
    (low, high), (low_after, high_after) = (np.percentile(each[inside], [25, 75]) for each in (scan, healthy))
    if high <= low or high_after <= low_after:
        return greys(healthy[healthy != 0])
    slope = (high_after - low_after) / (high - low)
    return float(low_after + slope * (window[0] - low)), float(low_after + slope * (window[1] - low))


def _bytes(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Values from ``low`` to ``high`` as 0 to 255."""
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    levels: NDArray[np.uint8] = (255 * share).round().astype(np.uint8)
    return levels


def _grey(values: NDArray[np.float32], window: tuple[float, float], tiles: list[_Tiles]) -> Any:
    from PIL import Image

    return Image.fromarray(_tiled(_bytes(values, *window), tiles))


def _heat(values: NDArray[np.float32], scale: dict[str, float], tiles: list[_Tiles]) -> Any:
    """The map in the report's colours: transparent below the scale, opaque in its upper third."""
    import matplotlib as mpl
    from PIL import Image

    share = _tiled(_bytes(values, scale["low"], scale["high"]), tiles)
    colours = (255 * mpl.colormaps["inferno"](np.arange(256))).round().astype(np.uint8)
    colours[:, 3] = np.clip(1.5 * np.arange(256), 0, 255)
    return Image.fromarray(colours[share // LEVEL * LEVEL])


def _said(grid: Volume, tiles: list[_Tiles]) -> dict[str, Any]:
    """Where the slices are, in the pictures and in the scan."""
    return {
        "shape": list(grid.shape),
        "spacing": [round(step, 5) for step in grid.spacing],
        "toMm": np.round(grid.affine[:3], 6).tolist(),
        "toIndex": np.round(np.linalg.inv(grid.affine)[:3], 8).tolist(),
        "planes": [
            {
                "name": each.plane.name, "axis": each.plane.axis, "flip": each.plane.flip,
                "edges": [] if grid.is_image else list(each.plane.edges),
                "first": each.slices.start, "step": each.slices.step, "count": len(each.slices),
                "size": list(each.size), "columns": each.columns, "top": each.top,
            }
            for each in tiles
        ],
    }  # fmt: skip


def _outlines(
    grid: Volume, places: Mapping[str, Any], threshold: float, tiles: list[_Tiles]
) -> dict[str, list[dict[int, list[list[int]]]]]:
    """Object to the outlines in each plane: slice number to closed lines x, y, x, y, ..."""
    from scipy.ndimage import center_of_mass, find_objects, label

    above = grid.data[0] > threshold
    labels, count = label(above, structure=EVERYWHERE)
    if not count or not places:
        return {}
    centres = np.array(center_of_mass(above, labels, range(1, count + 1))) @ grid.affine[:3, :3].T
    centres += grid.affine[:3, 3]
    boxes = find_objects(labels)
    found = {}
    for name, centre in places.items():
        index = int(((centres - centre) ** 2).sum(axis=1).argmin())
        box = tuple(
            slice(max(0, part.start - 1), part.stop + 1) for part in boxes[index]
        )  # a rim that is outside
        region = np.zeros(grid.shape, bool)
        region[box] = labels[box] == index + 1
        found[name] = [_lines(region, each) for each in tiles]
    return found


def _lines(region: NDArray[np.bool], tiles: _Tiles) -> dict[int, list[list[int]]]:
    """The outlines of a region in the slices of a plane."""
    from skimage.measure import find_contours

    lines = dict[int, list[list[int]]]()
    for number, index in enumerate(tiles.slices):
        cut = np.pad(tiles.plane.cut(region, index).astype(np.float32), 1)
        if not cut.any():
            continue
        rows, columns = cut.shape[0] - 2, cut.shape[1] - 2
        lines[number] = [
            (UNITS * (_thinned(line)[:, ::-1] - 0.5) / (columns, rows)).round().astype(int).ravel().tolist()
            for line in find_contours(cut, 0.5)
        ]  # fmt: skip
    return lines


def _thinned(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every second point of a closed line: a voxel's edge needs no more."""
    return np.concatenate([line[:-1:2], line[:1]])
