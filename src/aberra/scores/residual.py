"""The difference between a scan and its healthy version (B50, B51, H5, H6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from aberra.errors import ConfigError
from aberra.options import Positive, Share, Sigma, configured
from aberra.scores import Scored
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.capabilities import Reconstructs
    from aberra.detector.windows import Runner

Sign = Literal["absolute", "positive", "negative"]
Mode = Literal["absolute", "positive", "negative", "ssim", "structural"]


class Residual:
    """``r = |x − x̂|``, one sign of it, or the loss of structure (1 − SSIM(x, x̂)) / 2; mean over channels.

    Baur et al. 2021 (arXiv 2004.03271): absolute on tumours, positive (hyper-intense) on MS. Smoothing after Zimmerer
    et al. 2019 ("smoothed" reconstruction error). SSIM (Wang et al. 2004) as a residual after Bergmann et al. 2018 (arXiv
    1807.02011); its mixture with the absolute error, ``α·(1 − SSIM)/2 + (1 − α)·|x − x̂|``, after Zhao et al. 2017 (α = 0.84).

    Args:
        mode: ``absolute``, ``positive`` (brighter than healthy), ``negative`` (darker), ``ssim`` or ``structural`` (the mixture).
        centre: subtract the median difference inside the mask, channel by channel, before anything else: a network that answers
            a foreign scanner with a healthy version that is brighter or darker as a whole has not found an anomaly.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.
        alpha: α, share of the structural term in ``structural``, by default 0.84.
        data_range: span of the intensities that SSIM's constants are relative to; never the scan's own. By default 1; only in ``ssim`` and ``structural``.

    Raises:
        ConfigError: unknown mode, negative smoothing, α outside [0, 1] or a range that is not positive.

    Deviation: Zhao's structural term is a multi-scale SSIM, and its absolute error is weighted with a Gaussian; ours is of one
    scale and not weighted. SSIM is taken within the slice for 2-D models, in space for 3-D models.
    """

    name = "residual"
    needs = ("Reconstructs",)
    MODES: tuple[Mode, ...] = get_args(Mode)

    @configured("score")
    def __init__(
        self,
        *,
        mode: Mode = "absolute",
        centre: bool = False,
        smooth: Sigma = 0.0,
        alpha: Share | None = None,
        data_range: Positive | None = None,
    ) -> None:
        self.mode = mode
        self.unit = "intensity" if mode in get_args(Sign) else ""
        self.centre = centre
        self.smooth = smooth
        for name, value, modes in (
            ("alpha", alpha, ("structural",)),
            ("data_range", data_range, ("ssim", "structural")),
        ):
            if value is not None and mode not in modes:
                raise ConfigError(
                    f"score.{name}={value:g}: does nothing with mode '{mode}', only with {' and '.join(modes)}; leave it out"
                )
        self.alpha = 0.84 if alpha is None else alpha
        self.data_range = 1.0 if data_range is None else data_range

    def __call__(self, model: Reconstructs, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        restored = run(model.reconstruct, x, mask)
        return Scored(self.compare(x, restored, mask, run.dims), restored * mask)

    def compare(self, x: Tensor, restored: Tensor, mask: Tensor, dims: int) -> Tensor:
        """Map (D, H, W) of two volumes (C, D, H, W)."""
        if self.centre and bool(mask.any()):
            level = (x - restored)[:, mask].median(dim=1).values
            restored = restored + level.reshape(-1, 1, 1, 1)
        if self.mode in ("ssim", "structural"):
            difference = self._structural(x, restored, dims)
        else:
            difference = signed(x - restored, self.mode)
        return smoothed(difference.mean(dim=0), mask, sigma=self.smooth, dims=dims)

    def _structural(self, x: Tensor, restored: Tensor, dims: int) -> Tensor:
        """Loss of structure, mixed with the absolute error in ``structural``: (C, D, H, W)."""
        from aberra.nets.ssim import ssim_map

        if dims == 2:  # slices are the batch
            similar = ssim_map(x.transpose(0, 1), restored.transpose(0, 1), data_range=self.data_range)
            similar = similar.transpose(0, 1)
        else:
            similar = ssim_map(x[None], restored[None], data_range=self.data_range)[0]
        lost = (1 - similar).clamp(min=0) / 2
        if self.mode == "ssim":
            return lost
        return self.alpha * lost + (1 - self.alpha) * (x - restored).abs()


def signed(difference: Tensor, mode: str) -> Tensor:
    """Absolute value of a difference, or the part of it that has the sign asked for; any shape."""
    if mode == "absolute":
        return difference.abs()
    return (difference if mode == "positive" else -difference).clamp(min=0)
