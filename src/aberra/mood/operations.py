"""What is done to the intensities of a place; each operation is a function of the scan, and of what
was drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from aberra.foreground import box_of
from aberra.mood.pictures import shown
from aberra.mood.shapes import weights
from aberra.synthesis.fields import smooth_noise
from aberra.synthesis.poisson import poisson_blend

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aberra.mood.anomaly import Anomaly
    from aberra.mood.scan import Scan

GRAIN_MM = 3.0
"""Correlation length of textures."""

LOCAL_MM = 1.5
"""σ over which the tissue under a lesion is averaged, and of what sharpening takes for details."""

CORE, CORE_DEPTH = 0.65, 1.8
"""Radius of a ring's core, share of its own; and how far the core lies below the rim, in amounts."""

STEPS = 9
"""Points along a streak."""


def filled(
    scan: Scan, anomaly: Anomaly, weight: NDArray[np.float32], region: NDArray[np.bool]
) -> NDArray[np.float32]:
    """The scan's intensities after a local operation, shape (D, H, W), before they are cut to [0, 1].

    Args:
        scan: the scan.
        anomaly: what is done.
        weight: of the anomaly in each voxel, in [0, 1].
        region: voxels that count.
    """
    if anomaly.kind.operation == "seamless":
        return _seamless(scan, anomaly, region)
    there = FILLS[anomaly.kind.operation](scan, anomaly, region)
    share = weight * np.float32(anomaly.amount) if anomaly.kind.operation in SHARES else weight
    return scan.data + share * (there - scan.data)


def _fill(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    """One intensity, with the subclass's texture."""
    flat = np.full_like(scan.data, anomaly.amount)
    return flat + np.float32(anomaly.kind.texture) * _grain(scan, anomaly) if anomaly.kind.texture else flat


def _picture(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    return shown(scan, anomaly)


def _lesion(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    """The local mean, brighter or darker by the amount, with a texture that grows with it."""
    change = 1 + np.float32(anomaly.kind.texture) * _grain(scan, anomaly)
    return _smoothed(scan, LOCAL_MM) + np.float32(anomaly.amount) * change


def _ring(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    """The local mean, brighter at the rim and darker in the core."""
    core = weights(scan, anomaly, share=CORE)
    return _smoothed(scan, LOCAL_MM) + np.float32(anomaly.amount) * (1 - np.float32(CORE_DEPTH) * core)


def _shift(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    return scan.data + np.float32(anomaly.amount)


def _noise(scan: Scan, anomaly: Anomaly, region: NDArray[np.bool]) -> NDArray[np.float32]:
    after = scan.data.copy()
    drawn = _rng(anomaly).standard_normal(int(region.sum()), dtype=np.float32)
    after[region] += np.float32(anomaly.amount) * drawn
    return after


def _mean(scan: Scan, _: Anomaly, region: NDArray[np.bool]) -> NDArray[np.float32]:
    """The region's mean everywhere; the amount is the share that it takes."""
    return np.full_like(scan.data, scan.data[region].mean())


def _invert(scan: Scan, _: Anomaly, region: NDArray[np.bool]) -> NDArray[np.float32]:
    """Bright and dark exchanged between the region's 2nd and 98th percentile."""
    low, high = np.percentile(scan.data[region], [2, 98]).astype(np.float32)
    turned: NDArray[np.float32] = low + high - scan.data
    return turned


def _shuffle(scan: Scan, anomaly: Anomaly, region: NDArray[np.bool]) -> NDArray[np.float32]:
    after = scan.data.copy()
    after[region] = _rng(anomaly).permutation(scan.data[region])
    return after


def _blur(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    return _smoothed(scan, anomaly.amount)


def _sharpen(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    """Unsharp masking."""
    return scan.data + np.float32(anomaly.amount) * (scan.data - _smoothed(scan, LOCAL_MM))


def _coarse(scan: Scan, anomaly: Anomaly, _: NDArray[np.bool]) -> NDArray[np.float32]:
    """Means of blocks, at least two voxels wide."""
    after = scan.data
    for axis, (length, step) in enumerate(zip(scan.volume.shape, scan.volume.spacing, strict=True)):
        edge = max(2, round(anomaly.amount / step))
        starts = np.arange(0, length, edge)
        sizes = np.diff(np.append(starts, length))
        sums = np.add.reduceat(after, starts, axis=axis)
        after = np.repeat(sums / _along(sizes, axis), sizes, axis=axis)
    return after.astype(np.float32)


def _streak(scan: Scan, anomaly: Anomaly, region: NDArray[np.bool]) -> NDArray[np.float32]:
    """The mean along a line through each voxel."""
    here = np.argwhere(region).T.astype(np.float32)
    step = (np.array(anomaly.direction) / scan.volume.spacing).astype(np.float32)[:, None]
    places = np.linspace(-0.5, 0.5, STEPS, dtype=np.float32) * np.float32(anomaly.amount)
    seen = [map_coordinates(scan.data, here + at * step, order=1, mode="nearest") for at in places]
    after = scan.data.copy()
    after[region] = np.mean(seen, axis=0)
    return after


def _seamless(scan: Scan, anomaly: Anomaly, region: NDArray[np.bool]) -> NDArray[np.float32]:
    """A picture in the gradient domain: its details, at the border the tissue's own intensities."""
    box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box_of(region))
    after = scan.data.copy()
    after[box] = poisson_blend(
        scan.data[box], shown(scan, anomaly)[box], region[box], factor=anomaly.amount, stronger=True
    )
    return after


def _smoothed(scan: Scan, width_mm: float) -> NDArray[np.float32]:
    found: NDArray[np.float32] = gaussian_filter(scan.data, [width_mm / step for step in scan.volume.spacing])
    return found


def _grain(scan: Scan, anomaly: Anomaly) -> NDArray[np.float32]:
    return smooth_noise(scan.volume.shape, scan.volume.spacing, GRAIN_MM, _rng(anomaly))


def _rng(anomaly: Anomaly) -> np.random.Generator:
    return np.random.default_rng([anomaly.seed, 13])


def _along(values: NDArray[np.int64], axis: int) -> NDArray[np.float32]:
    shape = [1, 1, 1]
    shape[axis] = -1
    return values.astype(np.float32).reshape(shape)


FILLS: dict[str, Callable[[Scan, Anomaly, NDArray[np.bool]], NDArray[np.float32]]] = {
    "fill": _fill, "picture": _picture, "lesion": _lesion, "ring": _ring,
    "shift": _shift, "noise": _noise, "flatten": _mean, "invert": _invert, "shuffle": _shuffle,
    "blur": _blur, "sharpen": _sharpen, "coarse": _coarse, "streak": _streak,
}  # fmt: skip
"""Operations that say what would be there if the weight were 1."""

SHARES = ("picture", "flatten")
"""Operations whose amount is the share of what is there."""
