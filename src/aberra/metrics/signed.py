"""What a method changed against what disease changed, both with sign (Wolleb 2022, chapter 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mse(change: NDArray[Any], truth: NDArray[Any], region: NDArray[np.bool]) -> float:
    """Mean of (change − truth)² over channels and a region; both (C, D, H, W), the region (D, H,
    W).

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.signed import mse
        >>> mse(np.ones((1, 1, 2, 2)), np.zeros((1, 1, 2, 2)), np.ones((1, 2, 2), bool))
        1.0
    """
    inside = (change.astype(np.float64) - truth)[:, region]
    return float((inside**2).mean()) if inside.size else 0.0


def ssim(change: NDArray[Any], truth: NDArray[Any], region: NDArray[np.bool]) -> float:
    """Mean SSIM over channels and slices that the region reaches, each map brought to [0, 1] by its
    own extremes first (Wolleb's public code); 0 outside the region.

    Slices of fewer than 7 px along an edge have none and count as different (0).
    """
    from skimage.metrics import structural_similarity

    found = []
    for index in np.flatnonzero(region.any(axis=(1, 2))):
        for told, true in zip(change[:, index], truth[:, index], strict=True):
            first, second = (_scaled(np.where(region[index], each, 0)) for each in (told, true))
            small = min(first.shape) < 7
            found.append(0.0 if small else float(structural_similarity(first, second, data_range=1.0)))
    return float(np.mean(found)) if found else 0.0


def _scaled(values: NDArray[Any]) -> NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    return (values.astype(np.float64) - low) / ((high - low) or 1.0)
