"""Where in a head the brain is, roughly: a small network that has only seen drawn heads.

Brain extraction that is right in 3-D scans can take scalp for brain near the vertex of thick
slices, where bone is cut so obliquely that it hardly shows. A network at 4 mm that learnt whole
heads of any contrast and slice thickness (after SynthStrip: Hoopes et al. 2022, NeuroImage 260,
119474) draws no fine border, but does not make that mistake.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.prepare.grid import resample_to, window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.nets.unet import AdditiveUNet

WEIGHTS = Path(__file__).with_name("brain_net.safetensors")
"""Made by scripts/train_brain, see brain_net.md."""

SPACING = 4.0
"""mm, along S, P, L."""

SIZE = (48, 64, 48)
"""19 × 26 × 19 cm around the brain."""

BRIGHTEST = 4.0
"""Intensities are shares of the mean of what is brighter than average; above is the same."""

LEAST = 0.2
"""Less likely is not brain (docs/explanation/shipped.md)."""


def network() -> AdditiveUNet:
    """The network, without weights: (B, 1, S) to the logit of brain (B, 1, S)."""
    from aberra.nets.unet import AdditiveUNet

    return AdditiveUNet(channels=1, dims=3, size=SIZE, widths=(16, 32, 64, 96), out=1)


def scaled(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensities as the network sees them, whatever the scanner's unit."""
    bright = x[x > x.mean()]
    unit = float(bright.mean()) if bright.size else 1.0
    return np.asarray(np.clip(x / max(unit, 1e-6), 0, BRIGHTEST), dtype=np.float32)


def likelihood(
    scan: NDArray[np.float32], affine: NDArray[np.float64], rough: NDArray[np.bool], device: str = "cpu"
) -> NDArray[np.float32]:
    """How likely each voxel of a head is brain.

    Args:
        scan: shape (D, H, W).
        affine: of its voxels, mm.
        rough: (D, H, W), about where the brain is; not empty.
        device: ``cpu`` or ``cuda``.

    Returns:
        Shape (D, H, W), in [0, 1]; 0 further from the middle of ``rough`` than the network sees.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    steps = np.linalg.norm(affine[:3, :3], axis=0)
    # thin voxels are averaged, not picked from
    wide = [0.42 * SPACING / step if step < 0.9 * SPACING else 0.0 for step in steps]
    smooth = gaussian_filter(scan, wide, truncate=2)
    grid = _grid(affine, rough)
    seen = torch.from_numpy(scaled(resample_to(smooth, affine, grid, SIZE)))[None, None].to(device)
    net = _trained(device)
    with torch.inference_mode():
        # L is the last axis: of a head and its mirror image
        found = (net(seen).sigmoid() + net(seen.flip(-1)).sigmoid().flip(-1)) / 2
    return resample_to(found[0, 0].cpu().numpy(), grid, affine, scan.shape)


def _grid(affine: NDArray[np.float64], rough: NDArray[np.bool]) -> NDArray[np.float64]:
    """Affine of the network's grid around the middle of a mask, axes S, P, L of the patient."""
    found = [np.flatnonzero(rough.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    middle = affine @ [*((each[0] + each[-1]) / 2 for each in found), 1]
    grid = np.eye(4)
    grid[:3, :3] = SPACING * np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]])
    grid[:3, 3] = middle[:3] - grid[:3, :3] @ ((np.array(SIZE) - 1) / 2)
    return grid


def boxed(array: NDArray[Any], middle: Sequence[float]) -> NDArray[Any]:
    """The part of a drawn head (D, H, W), axes S, P, L at :data:`SPACING`, that the network sees."""
    return window(array, [int(c - edge // 2) for c, edge in zip(middle, SIZE, strict=True)], SIZE)


@cache
def _trained(device: str) -> AdditiveUNet:
    from safetensors.torch import load_file

    net = network()
    net.load_state_dict(load_file(WEIGHTS))
    return net.to(device).eval()
