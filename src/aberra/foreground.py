"""Which voxels of a scan are background: one rule for preparation, fingerprints, evaluation and
reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

CUT_AWAY = 0.2
"""Share of voxels of one value from which that is a background that was cut away, not air that was
measured."""

RIM = 0.1
"""Brightness of the foreground's rim, relative to its 98th percentile, below which it is air that
fades out."""

BRAIN_ML = (700.0, 2200.0)
"""Contents of an adult or a child's skull."""

CONTACT_MM2 = 1000.0
"""Area on the faces of the field of view from which a foreground is cut off by it."""

SHELL_MM, SKULL_MM, FALL = 2.0, 22.0, 0.05
"""Thickness of the shells in which brightness is followed inwards, how far, and by how much it may
fall on the way, as share of the 98th percentile: more is a skull below a scalp."""

ROUNDING = 1e-6
"""Intensities differ by rounding if they differ by no more than this share: float32 has seven
digits."""

TISSUE_FACE = 0.3
"""Share of tissue from which a face of the field of view cuts through the body."""

STRIDE = 3

EVERYWHERE = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity."""


def level(channel: NDArray[np.float32]) -> float:
    """The background's intensity in one channel (D, H, W): 0, or what else is there at the faces
    and in much of the scan.
    """
    faces = [
        channel.take(end, axis).ravel() for axis in range(3) if channel.shape[axis] > 1 for end in (0, -1)
    ]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    value = values[counts.argmax()]
    if not value:
        return 0.0
    share = (channel == value).mean()
    return float(value) if CUT_AWAY < share < 1 and (channel == 0).mean() <= CUT_AWAY else 0.0


def nonzero(data: NDArray[np.float32]) -> NDArray[np.bool]:
    """Voxels (D, H, W) that are not background in some channel of (C, D, H, W), rounding aside."""
    found: NDArray[np.bool] = np.any([_off(channel) for channel in data], axis=0)
    return found


def shown(data: NDArray[np.float32]) -> tuple[float, float]:
    """What a picture of a scan's first channel shows as black and as white; ``data`` (C, D, H, W)."""
    return greys(data[0][nonzero(data)])


def greys(seen: NDArray[np.float32]) -> tuple[float, float]:
    """Black and white of a picture in which these intensities are to be seen."""
    low, high = (float(end) for end in np.percentile(seen, [0.5, 99.7])) if seen.size else (0.0, 1.0)
    low = min(low, 0.0) if low > 0 else low
    return low, max(high, low + 1e-6)


def _off(channel: NDArray[np.float32]) -> NDArray[np.bool]:
    away = np.abs(channel - np.float32(level(channel)))
    found: NDArray[np.bool] = away > ROUNDING * np.percentile(away, 98)
    return found


def region(volume: Volume) -> NDArray[np.bool]:
    """The voxels (D, H, W) of a scan that count: its mask, else all but the background."""
    return nonzero(volume.data) if volume.mask is None else volume.mask


def rim(channel: NDArray[np.float32], inside: NDArray[np.bool]) -> float:
    """Brightness over the background of the outermost voxels ``inside``, as a share of its 98th
    percentile; 0 without a rim.
    """
    from scipy.ndimage import binary_erosion

    edge = inside & ~binary_erosion(inside, border_value=1)
    if not edge.any():
        return 0.0
    bright = np.abs(channel - np.float32(level(channel)))
    top = float(np.percentile(bright[inside], 98))
    return float(np.median(bright[edge])) / top if top > 0 else 0.0


def constant(volume: Volume) -> str:
    """Say of the first channel without contrast inside the foreground that it has none; empty if
    all have some.
    """
    if all(_shaded(channel, volume.mask) for channel in volume.data):
        return ""
    inside = region(volume)
    for name, channel in zip(volume.channels, volume.data, strict=True):
        own = inside if volume.mask is not None else inside & _off(channel)
        values = channel[own] if own.any() else channel
        low, high = float(values.min()), float(values.max())
        if high - low <= ROUNDING * max(abs(low), abs(high)):
            everywhere = values.size == channel.size or float(channel.min()) == float(channel.max())
            return (
                f"{name} is constant ({low:g} {'everywhere' if everywhere else 'in all of its foreground'})"
            )
    return ""


def _shaded(channel: NDArray[np.float32], mask: NDArray[np.bool] | None) -> bool:
    """Whether a look at every few voxels shows three intensities: one may be background, two make
    contrast.
    """
    few = (slice(None, None, STRIDE),) * 3
    values = channel[few] if mask is None else channel[few][mask[few]]
    if not values.size:
        return False
    low, high = float(values.min()), float(values.max())
    apart = ROUNDING * max(abs(low), abs(high))
    return bool(((values > low + apart) & (values < high - apart)).any())


def largest(found: NDArray[np.bool], structure: NDArray[np.bool] | None = None) -> NDArray[np.bool]:
    """The largest connected region of (D, H, W), by faces or by another ``structure``."""
    from scipy.ndimage import label

    labels, count = label(found, structure=structure)
    if count < 2:
        return found
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool] = labels == sizes.argmax()
    return kept


def box_of(found: NDArray[np.bool]) -> tuple[slice, ...]:
    """The bounding box of what is there; empty slices where nothing is."""
    from scipy.ndimage import find_objects

    boxes: list[tuple[slice, ...]] = find_objects(found.view(np.uint8))
    return boxes[0] if boxes else (slice(0, 0),) * found.ndim


def cut_away(channel: NDArray[np.float32], inside: NDArray[np.bool]) -> bool:
    """Whether the background of a channel (D, H, W) was cut away: much of one value, and a bright
    rim ``inside`` instead of fading air.
    """
    if not inside.any():
        return True
    if inside.mean() > 1 - CUT_AWAY:
        return bool(inside.all() and channel.min() == channel.max())
    return rim(channel, inside) >= RIM


def brain_alone(
    channel: NDArray[np.float32], inside: NDArray[np.bool], spacing: tuple[float, float, float]
) -> bool:
    """Whether what is left of a channel (D, H, W) whose background is of one value is no more than a
    brain, though its rim is dark, as fluid is on T1.

    A head has three litres and more; of one that is cut to a brain's size the field of view shows
    the cuts, and below a small one's scalp lies a dark skull.
    """
    from scipy.ndimage import distance_transform_edt

    size = float(inside.sum() * np.prod(spacing)) / 1000
    if inside.mean() > 1 - CUT_AWAY or not BRAIN_ML[0] <= size <= BRAIN_ML[1]:
        return False
    faces = [inside.take(end, axis=axis).sum() / spacing[axis] for axis in range(3) for end in (0, -1)]
    if sum(faces) * np.prod(spacing) > CONTACT_MM2:
        return False
    steps = [max(1, round(SHELL_MM / step)) for step in spacing]
    thin = tuple(slice(None, None, step) for step in steps)
    found, bright = inside[thin], np.abs(channel[thin] - np.float32(level(channel)))
    depth = distance_transform_edt(found, sampling=[a * b for a, b in zip(steps, spacing, strict=True)])
    shells = [found & (depth > low) & (depth <= low + SHELL_MM) for low in np.arange(0, SKULL_MM, SHELL_MM)]
    profile = np.array([np.median(bright[shell]) for shell in shells if shell.any()])
    falls = np.maximum.accumulate(profile) - profile
    return bool(falls.max() <= FALL * np.percentile(bright[found], 98))


def inside_tissue(found: NDArray[np.bool]) -> bool:
    """Whether the field of view is a crop within the :func:`body`: tissue on at least four of the
    six faces.
    """
    faces = [found.take(end, axis=axis).mean() for axis in range(3) for end in (0, -1)]
    return int(np.sum(np.array(faces) > TISSUE_FACE)) >= 4


def body(channel: NDArray[np.float32]) -> NDArray[np.bool]:
    """Head or body against air: Otsu's threshold on the smoothed scan, largest region, holes
    filled.
    """
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.filters import threshold_otsu

    smooth = gaussian_filter(channel, [1.0 if length > 2 else 0.0 for length in channel.shape])
    if smooth.min() == smooth.max():
        return np.full(channel.shape, bool(smooth.max() != 0))
    # half the threshold: Otsu splits bright from dark tissue where there is much of both
    found = largest(smooth > smooth.min() + 0.5 * (threshold_otsu(smooth) - smooth.min()))
    for index in range(len(found)):
        found[index] = binary_fill_holes(found[index])
    return found
