"""What a scan tells of its scanner: statistics of many small blocks, whose medians a lesion hardly
moves.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from aberra.foreground import box_of, region
from aberra.prepare.orient import Orient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

BLOCK_MM = 16.0
"""Edge of a block: larger than most lesions' border, small against a brain."""

FILLED = 0.6
"""Share of a block that must be foreground for the block to count."""

FEWEST = 12
"""Blocks below which the foreground is one block."""

LEVELS = (10.0, 25.0, 50.0, 75.0, 90.0)
"""Percentiles of a block; of the whole foreground, too, but for the median, which is the unit."""

OF_SHAPE = ("spacing-s", "spacing-p", "spacing-l", "skew-s", "skew-p", "skew-l", "background")
OF_CHANNEL = (
    "whole-low", "whole-lower", "whole-upper", "whole-high", "low", "lower", "upper", "high", "spread", "tails", "noise", "gradient", "laplacian", "sharpness",
    "patchiness", "bias-s", "bias-p", "bias-l", "bias-ss", "bias-sp", "bias-sl", "bias-pp", "bias-pl", "bias-ll",
)  # fmt: skip


def feature_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Names of the numbers of :func:`shift_features`, in order."""
    return (*OF_SHAPE, *(f"{channel}: {name}" for channel in channels for name in OF_CHANNEL))


def shift_features(volume: Volume) -> NDArray[np.float64]:
    """Describe scanner and protocol, shape (7 + 24 C,); none depends on a channel's unit.

    The foreground is cut into blocks of 16 mm. From each: how far its percentiles lie from its
    median, its noise (Immerkær 1996, CVIU 64(2): the second difference along two axes, in which
    structure cancels), gradient and Laplacian, all relative to the scan's median. A feature is the
    *median over blocks*, so a lesion counts by the few blocks that it touches, not by its size or
    brightness. Percentiles of the whole foreground are there, too: blocks hold tissues in any
    proportion, so that a mild curve of the intensities is hidden among them. The bias field is a
    polynomial of second order through the blocks' medians, by least absolute deviations. Besides:
    voxel size, the foreground's skewness along each axis (a scan that is turned or cut), and the
    noise of what lies outside.

    After the no-reference statistics of MRIQC (Esteban et al. 2017, PLoS ONE 12(9)). Deviation:
    none needs a segmentation, and medians over blocks replace those over tissues.

    Args:
        volume: the scan, as read.
    """
    scan = Orient(to="SPL")(volume) if not volume.is_image else volume
    inside = region(scan)
    if not inside.any():
        inside = np.ones(scan.shape, dtype=bool)
    box = box_of(inside)
    blocks = _blocks(inside[box], scan.spacing)
    found = [*np.log(scan.spacing), *_skewness(inside), _background(scan.data[0], inside)]
    for channel in scan.data:
        found += _of_channel(channel[box].astype(np.float64), inside[box], blocks, scan.spacing)
    return np.array(found)


def _blocks(inside: NDArray[np.bool], spacing: tuple[float, float, float]) -> list[tuple[slice, ...]]:
    """The boxes that are mostly foreground; all of it if these are too few."""
    edges = [
        max(1, min(length, round(BLOCK_MM / step)))
        for length, step in zip(inside.shape, spacing, strict=True)
    ]
    boxes = [
        tuple(slice(start, start + edge) for start, edge in zip(at, edges, strict=True))
        for at in np.ndindex(*(-(-length // edge) for length, edge in zip(inside.shape, edges, strict=True)))
        for at in [tuple(index * edge for index, edge in zip(at, edges, strict=True))]
    ]
    full = float(np.prod(edges))
    kept = [box for box in boxes if inside[box].sum() >= FILLED * full]
    return kept if len(kept) >= FEWEST else [tuple(slice(0, length) for length in inside.shape)]


def _of_channel(
    x: NDArray[np.float64],
    inside: NDArray[np.bool],
    blocks: list[tuple[slice, ...]],
    spacing: tuple[float, float, float],
) -> list[float]:
    from scipy.ndimage import binary_erosion

    axes = [axis for axis, length in enumerate(x.shape) if length > 1]
    window = [3 if axis in axes else 1 for axis in range(3)]
    inner = binary_erosion(inside, np.ones(window, dtype=bool))
    inner = inner if inner.any() else inside
    middle = float(np.median(x[inside]))
    darkest = min(0.0, float(np.percentile(x[inside], 0.1)))
    unit = max(middle - darkest, 1e-6)
    x = (x - darkest) / unit
    grain = np.abs(_bend(_bend(x, axes[-1]), axes[-2] if len(axes) > 1 else axes[-1])) / 6
    slopes = [np.gradient(x, spacing[axis], axis=axis) for axis in axes]
    gradient = np.sqrt(np.sum(np.square(slopes), axis=0)) if slopes else np.zeros_like(x)
    bend = np.sum([np.abs(_bend(x, axis)) for axis in axes], axis=0) if axes else np.zeros_like(x)
    rows = []
    for box in blocks:
        within, core = inside[box], inner[box]
        core = core if core.any() else within
        low, lower, mid, upper, high = np.percentile(x[box][within], LEVELS)
        spread = max(float(upper - lower), 1e-4)
        rows.append(
            (mid, low - mid, lower - mid, upper - mid, high - mid, spread, (high - low) / spread, np.median(grain[box][core]),
             np.median(gradient[box][core]), np.median(bend[box][core]) if axes else 0.0)
        )  # fmt: skip
    table = np.array(rows)
    mid, low, lower, upper, high, spread, tails, noise, slope, laplacian = np.median(table, axis=0)
    sharp = np.median(table[:, 9] / np.maximum(table[:, 8], 1e-6))
    patchy = 1.4826 * np.median(np.abs(table[:, 0] - mid))
    places = np.array(
        [
            [0.5 * (part.start + part.stop) / length for part, length in zip(box, x.shape, strict=True)]
            for box in blocks
        ]
    )
    positive = (spread, tails, noise, slope, laplacian, sharp, patchy)
    whole = np.percentile(x[inside], [level for level in LEVELS if level != 50])
    return [
        *(float(value) for value in whole - np.median(x[inside])),
        low,
        lower,
        upper,
        high,
        *(float(np.log(max(value, 1e-4))) for value in positive),
        *_bias(places, table[:, 0]),
    ]


def _bend(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Second difference along an axis, edges repeated."""
    found: NDArray[np.float64] = np.diff(
        x, 2, axis=axis, prepend=x.take([0], axis), append=x.take([-1], axis)
    )
    return found


def _bias(places: NDArray[np.float64], values: NDArray[np.float64]) -> list[float]:
    """Coefficients of log values (N,) on the polynomial of second order at places (N, 3) in [0, 1],
    without the constant; least absolute deviations by reweighting.
    """
    if len(values) < FEWEST:
        return [0.0] * 9
    at = 2 * places - 1
    second = [at[:, i] * at[:, j] for i, j in combinations_with_replacement(range(3), 2)]
    f = np.stack([np.ones(len(at)), *at.T, *second], axis=1)
    y = np.log(np.maximum(values, 1e-3))
    weight = np.ones_like(y)
    for _ in range(15):
        weighted = f * weight[:, None]
        beta = np.linalg.solve(weighted.T @ f + 1e-6 * np.eye(f.shape[1]), weighted.T @ y)
        weight = 1 / np.maximum(np.abs(y - f @ beta), 1e-3)
        weight /= weight.max()
    return [float(value) for value in beta[1:]]


def _skewness(inside: NDArray[np.bool]) -> list[float]:
    """Of the foreground's voxels along each axis."""
    found = []
    for axis in range(3):
        mass = inside.sum(axis=tuple(other for other in range(3) if other != axis)).astype(np.float64)
        place = np.arange(len(mass))
        mean = float((mass * place).sum() / mass.sum())
        width = float((mass * (place - mean) ** 2).sum() / mass.sum()) ** 0.5
        found.append(float((mass * (place - mean) ** 3).sum() / mass.sum()) / width**3 if width else 0.0)
    return found


def _background(channel: NDArray[np.float32], inside: NDArray[np.bool]) -> float:
    """Spread of what lies outside, relative to the foreground's median, as log; a background that
    was cut away has none.
    """
    outside = channel[~inside]
    if not outside.size:
        return float(np.log(1e-4))
    low, high = np.percentile(outside, (25, 75))
    scale = max(abs(float(np.median(channel[inside]))), 1e-6)
    return float(np.log(max(float(high - low) / scale, 1e-4)))
