"""Differences at several scales (B9, B56)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from aberra.nets.pyramid import expand
from aberra.options import Sigma, configured
from aberra.scores import Scored
from aberra.scores.residual import Sign, signed
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.capabilities import ReconstructsLevels
    from aberra.detector.windows import Runner


class MultiScale:
    """r = mean or maximum over k of ↑(Rₖ), Rₖ = ``|Iₖ − Îₖ|`` being the residual of pyramid level k; mean over channels.

    Baur et al. 2020, "Scale-Space Autoencoders" (MICCAI): coarse levels find large lesions, fine ones small lesions (B9).

    Args:
        aggregate: ``mean`` or ``max`` over the levels.
        mode: sign of the residual, as in :class:`aberra.scores.residual.Residual`: ``absolute``, ``positive`` or ``negative``.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option or negative smoothing.
    """

    name = "multi-scale"
    needs = ("ReconstructsLevels",)
    unit = "intensity"

    @configured("score")
    def __init__(
        self, *, aggregate: Literal["mean", "max"] = "mean", mode: Sign = "absolute", smooth: Sigma = 0.0
    ) -> None:
        self.aggregate = aggregate
        self.mode = mode
        self.smooth = smooth

    def __call__(self, model: ReconstructsLevels, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        found = run(lambda batch: self._aggregated(model, batch), x, mask)
        restored, values = found[: len(x)], found[len(x) :]
        values = smoothed(values.mean(dim=0), mask, sigma=self.smooth, dims=run.dims)
        return Scored(values, restored * mask)

    def _aggregated(self, model: ReconstructsLevels, x: Tensor) -> Tensor:
        """The finest reconstruction and the score, stacked: (B, C, S) to (B, 2C, S)."""
        levels = model.reconstruct_levels(x)
        residuals = []
        for level, (image, restored) in enumerate(levels):
            residual = signed(image - restored, self.mode)
            for _ in range(level):
                residual = expand(residual)
            residuals.append(residual)
        stacked = torch.stack(residuals)
        score = stacked.mean(dim=0) if self.aggregate == "mean" else stacked.amax(dim=0)
        return torch.cat([levels[0][1], score], dim=1)
