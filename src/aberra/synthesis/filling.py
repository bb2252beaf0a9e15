"""What a lesion is filled with, how that is blended in, and how much it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, median_filter

from aberra.foreground import region
from aberra.synthesis.fields import smooth_noise
from aberra.synthesis.parameters import FOREIGN, PATCHES
from aberra.synthesis.poisson import poisson_blend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.synthesis.parameters import LesionParameters
    from aberra.volume import Volume

HALF, STEEPNESS = 24 / 255, 255 / 12
"""Of the label ``intensity``: change that counts half, and steepness, in ranges of the scan's
intensities (Schlüter et al. 2022, arXiv 2109.15222, for most objects: x₀ = 24 and k = 1/12, of 255
grey values)."""


def saturated(change: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much intensities changed, on a logistic scale: (C, D, H, W) and those of the foreground
    (C, N) to (D, H, W).
    """
    low, high = np.percentile(values, [1, 99.5], axis=1)
    ranges = np.maximum(high - low, 1e-6).reshape(-1, 1, 1, 1)
    size = [3 if length > 1 else 1 for length in change.shape[1:]]
    relative = median_filter(np.abs(change / ranges).mean(axis=0), size)
    label: NDArray[np.float32] = (relative > 1 / 255) / (1 + np.exp(-STEEPNESS * (relative - HALF)))
    return label


def filled(
    channel: NDArray[np.float32],
    given: NDArray[np.float32],
    *,
    alpha: NDArray[np.float32],
    foreground: NDArray[np.bool],
    source: str,
    parameters: LesionParameters,
    giver: Volume,
) -> NDArray[np.float32]:
    """Blend the lesion's intensities into a channel; ``given`` is the giver's, which is the scan
    itself but for foreign tissue.
    """
    spacing, own = giver.spacing, source not in FOREIGN
    if source == "foreign" and parameters.scale == 1:
        foreign = given * np.float32(parameters.gain)
    else:
        local = gaussian_filter(
            channel,
            [1.5 / step if length > 1 else 0.0 for step, length in zip(spacing, giver.shape, strict=True)],
        )
        if source in PATCHES:
            there = _taken(region(giver).astype(np.float32), parameters) > 0.5
            foreign = np.where(there, _taken(given, parameters) * np.float32(parameters.gain), local)
        else:
            foreign = _painted(given, local, foreground, parameters, source=source, spacing=spacing)
    foreign = foreign.astype(np.float32)
    if parameters.blend == "alpha":
        weight = alpha * np.float32(parameters.factor)
        blended = channel * (1 - weight) + foreign * weight
        return np.where(foreground, blended, channel).astype(np.float32)
    blended = poisson_blend(
        channel, foreign, alpha >= 0.5, factor=parameters.factor, stronger=parameters.blend == "mixed"
    )
    return blended if own else np.clip(blended, channel.min(), channel.max())


def _taken(array: NDArray[np.float32], parameters: LesionParameters) -> NDArray[np.float32]:
    """An array (D, H, W) moved by the offset and enlarged around the centre."""
    if parameters.scale == 1:
        return np.roll(array, parameters.offset, axis=(0, 1, 2))
    index = np.indices(array.shape, dtype=np.float32)
    centre, offset = (
        np.array(each, dtype=np.float32).reshape(3, 1, 1, 1)
        for each in (parameters.centre, parameters.offset)
    )
    where = centre + (index - centre) / parameters.scale - offset
    return np.asarray(map_coordinates(array, where, order=1, mode="nearest"))


def _painted(
    original: NDArray[np.float32],
    local: NDArray[np.float32],
    foreground: NDArray[np.bool],
    parameters: LesionParameters,
    *,
    source: str,
    spacing: tuple[float, float, float],
) -> NDArray[np.float32]:
    """What ``hyper``, ``mass``, ``hypo`` and ``texture`` make of a channel: it brighter, it darker,
    or noise.
    """
    rng = np.random.default_rng([parameters.seed, 7])
    typical, low, high = (float(value) for value in np.percentile(original[foreground], [50, 1, 99.5]))
    change = parameters.strength * max(abs(typical), 0.25 * (high - low))
    grain = smooth_noise(original.shape, spacing, 3.0, rng)
    if source in {"hyper", "mass"}:
        return local + change * (1 + 0.15 * grain)
    if source == "hypo":
        return np.maximum(local - change * (1 + 0.15 * grain), min(low, 0.05 * typical))
    level = rng.uniform(low, high)
    texture: NDArray[np.float32] = np.clip(level + 0.5 * change * grain, low, high)
    return texture
