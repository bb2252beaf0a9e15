"""The difference between a scan and its healthy version (B50, B51, H5, H6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.errors import ConfigError, unknown
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.capabilities import Reconstructs
    from aberra.inference import Runner


class Residual:
    """r = |x − x̂|, or one sign of it, mean over channels.

    Baur et al. 2021 (arXiv 2004.03271): absolute on tumours, positive (hyper-intense) on MS. Smoothing after Zimmerer
    et al. 2019 ("smoothed" reconstruction error).

    Args:
        mode: ``absolute``, ``positive`` (brighter than healthy) or ``negative`` (darker).
        centre: subtract the median difference inside the mask, channel by channel, before taking the sign or the absolute
            value: a network that answers a foreign scanner with a healthy version that is brighter or darker as a whole
            has not found an anomaly.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown mode or negative smoothing.
    """

    needs = ("Reconstructs",)
    MODES = ("absolute", "positive", "negative")

    def __init__(self, *, mode: str = "absolute", centre: bool = False, smooth: float = 0.0) -> None:
        if mode not in self.MODES:
            raise unknown("residual mode", mode, self.MODES)
        if smooth < 0:
            raise ConfigError(f"score.smooth={smooth}; expected a σ of 0 or more pixels")
        self.mode = mode
        self.centre = centre
        self.smooth = smooth

    def __call__(self, model: Reconstructs, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        restored = run(model.reconstruct, x, mask)
        difference = x - restored
        if self.centre and bool(mask.any()):
            level = difference[:, mask].median(dim=1).values
            difference = difference - level.reshape(-1, 1, 1, 1)
        if self.mode == "absolute":
            difference = difference.abs()
        else:
            difference = (difference if self.mode == "positive" else -difference).clamp(min=0)
        residual = difference.mean(dim=0) * mask
        if self.smooth:
            residual = _smoothed(residual, self.smooth, run.dims) * mask
        return Scored(residual, restored * mask)


def _smoothed(residual: Tensor, sigma: float, dims: int) -> Tensor:
    """Gaussian over (D, H, W), within slices for 2-D models."""
    import torch
    from scipy.ndimage import gaussian_filter

    widths = (0.0, sigma, sigma) if dims == 2 else (sigma,) * 3
    return torch.from_numpy(gaussian_filter(residual.numpy(), widths))
