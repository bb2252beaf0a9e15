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

BEYOND_MM, AROUND_MM = 5.0, 14.0
"""A mask that goes further than so beyond the network's border is wrong there, and so is what goes
beyond it so near to such a place. Elsewhere the mask's border is the better one."""


def network() -> AdditiveUNet:
    """The network, without weights: (B, 1, S) to the logit of brain (B, 1, S)."""
    from aberra.nets.unet import AdditiveUNet

    return AdditiveUNet(channels=1, dims=3, size=SIZE, widths=(16, 32, 64, 96), out=1)


def scaled(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensities as the network sees them, whatever the scanner's unit."""
    bright = x[x > x.mean()]
    unit = float(bright.mean()) if bright.size else 1.0
    return np.asarray(np.clip(x / max(unit, 1e-6), 0, BRIGHTEST), dtype=np.float32)


def trimmed(
    scan: NDArray[np.float32], affine: NDArray[np.float64], mask: NDArray[np.bool], device: str = "cpu"
) -> NDArray[np.bool]:
    """A brain mask without what is far from being brain.

    Args:
        scan: a head, shape (D, H, W).
        affine: of its voxels, mm.
        mask: (D, H, W), not empty.
        device: ``cpu`` or ``cuda``.

    Returns:
        Shape (D, H, W): the mask, but for places in the upper half of the head at which it goes
        more than :data:`BEYOND_MM` beyond the network's brain; there the network's border counts.
    """
    from scipy.ndimage import distance_transform_edt

    grid = _grid(affine, mask)
    likely = likelihood(scan, affine, grid, device)
    out = distance_transform_edt(likely < 0.5) * SPACING
    wrong = (out > BEYOND_MM) & (resample_to(mask.astype(np.float32), affine, grid, SIZE) > 0.5)
    wrong[: SIZE[0] // 2] = False
    if not wrong.any():
        return mask
    near = (distance_transform_edt(~wrong) * SPACING < AROUND_MM).astype(np.float32)
    less, close = (resample_to(each, grid, affine, scan.shape) for each in (likely, near))
    return mask & ~((less < 0.5) & (close > 0.5))


def likelihood(
    scan: NDArray[np.float32], affine: NDArray[np.float64], grid: NDArray[np.float64], device: str
) -> NDArray[np.float32]:
    """How likely each voxel of the network's grid is brain, shape :data:`SIZE`, in [0, 1].

    Args:
        scan: a head, shape (D, H, W).
        affine: of its voxels, mm.
        grid: affine of the network's.
        device: ``cpu`` or ``cuda``.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    steps = np.linalg.norm(affine[:3, :3], axis=0)
    # thin voxels are averaged, not picked from
    wide = [0.42 * SPACING / step if step < 0.9 * SPACING else 0.0 for step in steps]
    smooth = gaussian_filter(scan, wide, truncate=2)
    seen = torch.from_numpy(scaled(resample_to(smooth, affine, grid, SIZE)))[None, None].to(device)
    net = _trained(device)
    with torch.inference_mode():
        # L is the last axis: of a head and its mirror image
        found = (net(seen).sigmoid() + net(seen.flip(-1)).sigmoid().flip(-1)) / 2
    answer: NDArray[np.float32] = found[0, 0].cpu().numpy()
    return answer


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
