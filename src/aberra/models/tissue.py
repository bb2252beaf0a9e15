"""A healthy brain expected from the atlas' tissue maps: robust regression, no training (`tissue`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from aberra.errors import ConfigError, MismatchError
from aberra.options import AtlasVoxel, NotNegative, configured

NEAR_MM, FAR_MM = (1.0, 3.0), 8.0
"""Blurs (σ) of the tissue maps: registration is not exact, and tissue looks different near a
border. Fluid is also seen from afar."""

SAMPLES = 60_000
"""Voxels that the regression looks at, spread evenly over the mask."""

ITERATIONS = 8
CUT = 1.5
"""Residuals beyond so many scales lose weight with their square."""

FLOOR = 0.25
"""Smallest expected spread, as a share of the scan's own scale of residuals."""

SLAB = 1 << 20
"""Voxels evaluated at once."""


class Tissue(nn.Module):
    """Intensity and spread that a healthy brain would have at each voxel, from tissue maps and a
    bias field.

    Features f at a voxel of the MNI152 grid: 1; the maps of white matter, grey matter and fluid
    blurred by 1 and 3 mm, and fluid by 8 mm; and the polynomial of second order in x, y, z, which
    stands for the scanner's bias field. Each channel of each scan is regressed on f by itself:
    ``μ = f·β`` by iteratively reweighted least squares (weight ``1 / max(1, |r| / 1.5 s)²``, s the
    scale 1.48 times the median of ``|r|``), ``log σ = f·γ + c`` by least squares on ``log |r|``, c
    so that the median of ``|r| / σ`` is that of a Gaussian.

    After MOPS (Tomas-Fernandez, Warfield 2015, MICCAI) and DeepWMH (2024), with an atlas in place
    of their populations.

    Args:
        size: prepared grid (D, H, W), the atlas'.
        spacing: voxel size of that grid in mm; the same as ``prepare.spacing``.
        white_matter: power k: σ is divided by W^k, W white matter blurred by 4 mm. 0 is off. Above,
            only what lies in white matter is looked for, as in multiple sclerosis: a tumour or a
            stroke in the cortex is then lost.

    Raises:
        ConfigError: a grid that is not the atlas' at that voxel size.
        MismatchError: a scan that is not on the atlas' grid.
    """

    name = "tissue"

    @configured("model")
    def __init__(
        self, *, size: Sequence[int], spacing: AtlasVoxel = 1.0, white_matter: NotNegative = 0.0
    ) -> None:
        super().__init__()
        self.spacing = checked_grid(size, spacing)
        self.white_matter = white_matter

    def expect(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Expected intensity and spread of (C, D, H, W) inside a mask (D, H, W); 0 and 1 outside."""
        check_on_atlas(tuple(mask.shape), self.spacing)
        mean, spread = torch.zeros_like(x), torch.ones_like(x)
        place = mask.bool().flatten().nonzero()[:, 0]
        if not len(place):
            return mean, spread
        sample = place[evenly(len(place))]
        seen = features(sample, mask.shape, self.spacing).double()
        for channel, expected, width in zip(x.flatten(1), mean.flatten(1), spread.flatten(1), strict=True):
            location, scale, floor = regress(seen, channel[sample].double())
            for part in torch.split(place, SLAB):
                f = features(part, mask.shape, self.spacing)
                expected[part] = f @ location.float()
                width[part] = (f @ scale.float()).exp().clamp(min=floor)
                if self.white_matter:
                    prior = white_matter(self.spacing).to(x.device).flatten()[part].clamp(min=1e-3)
                    width[part] /= prior**self.white_matter
        return mean, spread


def regress(f: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Coefficients of the mean and of the log spread, and the smallest spread.

    Args:
        f: features, shape (N, F), float64.
        y: intensities, shape (N,), float64.
    """
    tiny = 1e-4 * float((y - y.median()).abs().mean()) + 1e-12
    weight = torch.ones_like(y)
    for _ in range(ITERATIONS):
        beta = least_squares(f, y, weight)
        residual = (y - f @ beta).abs()
        scale = 1.4826 * float(residual.median()) + tiny
        weight = (residual / (CUT * scale)).clamp(min=1) ** -2
    floor = max(FLOOR * scale, tiny)
    gamma = least_squares(f, (residual + 0.01 * scale).log(), torch.ones_like(y))
    typical = float((residual / (f @ gamma).exp()).median())
    gamma[0] += np.log(1.4826 * max(typical, 1e-6))
    return beta, gamma, floor


def least_squares(f: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Weighted least squares of (N,) on (N, F); of several answers (tissue shares add up to 1) the
    smallest.
    """
    weighted = f * weight[:, None]
    normal = weighted.T @ f
    ridge = 1e-9 * normal.diagonal().mean() * torch.eye(len(normal), dtype=f.dtype, device=f.device)
    found: Tensor = torch.linalg.solve(normal + ridge, weighted.T @ y)
    return found


def evenly(count: int, most: int = SAMPLES) -> Tensor:
    """Indices of at most so many of ``count`` things, evenly spread."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def features(place: Tensor, shape: Sequence[int], spacing: float) -> Tensor:
    """The regression's features (N, 17) at flat indices (N,) of the atlas grid."""
    maps = blurred(spacing).to(place.device).flatten(1)[:, place].T
    d, h, w = torch.unravel_index(place, tuple(shape))
    axes = [2 * index.float() / (length - 1) - 1 for index, length in zip((d, h, w), shape, strict=True)]
    second = [axes[i] * axes[j] for i in range(3) for j in range(i, 3)]
    return torch.cat([torch.ones_like(maps[:, :1]), maps, torch.stack([*axes, *second], dim=1)], dim=1)


@cache
def on_grid(spacing: float) -> Tensor:
    """Shares of fluid, grey and white matter on the atlas grid, (3, D, H, W)."""
    from aberra.prepare.atlas import atlas_grid, tissues
    from aberra.prepare.grid import resample_to
    from aberra.prepare.orient import Orient
    from aberra.prepare.resample import smoothed
    from aberra.volume import Volume

    maps, _, affine = tissues()
    shape, grid = atlas_grid(spacing)
    turned = Orient()(Volume(data=maps, affine=affine, channels=("csf", "gm", "wm")))
    if spacing == 1:  # the same grid but for its last planes
        return torch.from_numpy(np.ascontiguousarray(turned.data[:, : shape[0], : shape[1], : shape[2]]))
    return torch.from_numpy(resample_to(smoothed(turned.data, [spacing] * 3), turned.affine, grid, shape))


@cache
def blurred(spacing: float) -> Tensor:
    """The seven blurred maps on the atlas grid, (7, D, H, W)."""
    fluid, grey, white = on_grid(spacing)
    near = [_blur(part, sigma, spacing) for sigma in NEAR_MM for part in (white, grey, fluid)]
    return torch.stack([*near, _blur(fluid, FAR_MM, spacing)])


@cache
def white_matter(spacing: float) -> Tensor:
    """Share of white matter blurred by 4 mm on the atlas grid, (D, H, W)."""
    return _blur(on_grid(spacing)[2], 4.0, spacing)


def _blur(part: Tensor, sigma: float, spacing: float) -> Tensor:
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(part.numpy(), sigma / spacing, mode="nearest", truncate=3.0))


def checked_grid(size: Sequence[int], spacing: float) -> float:
    """The voxel size, if the atlas has the grid ``size`` at it.

    Raises:
        ConfigError: it has another.
    """
    from aberra.prepare.atlas import atlas_grid

    if tuple(size) != atlas_grid(spacing)[0]:
        raise ConfigError(
            f"model.spacing={spacing}: the prepared grid is {tuple(size)}, which is not MNI152 at that voxel size; needs "
            'prepare.grid = "common", prepare.register = "mni152" and prepare.spacing = [the same, the same, the same]'
        )
    return spacing


def check_on_atlas(shape: tuple[int, ...], spacing: float) -> None:
    """Refuse what was not registered.

    Raises:
        MismatchError: another grid than the atlas'.
    """
    from aberra.prepare.atlas import atlas_grid

    expected = atlas_grid(spacing)[0]
    if shape != expected:
        raise MismatchError(
            f"the prepared scan is {shape}, the atlas {expected}: this method needs a brain volume, registered to MNI152; 2-D images have no place in it"
        )
