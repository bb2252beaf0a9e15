"""Differences at several scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from aberra.capabilities import ReconstructsLevels
from aberra.compare.difference import Sign, signed
from aberra.nets.pyramid import expand
from aberra.options import configured
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class MultiScale:
    """r = mean or maximum over k of ↑(Rₖ), Rₖ = ``|Iₖ − Îₖ|`` being the residual of pyramid level
    k; mean over channels.

    Baur et al. 2020, "Scale-Space Autoencoders" (MICCAI): coarse levels find large lesions, fine
    ones small lesions.

    Args:
        aggregate: ``mean`` or ``max`` over the levels.
        mode: sign of the residual, as in :class:`aberra.compare.comparison.Comparison`:
            ``absolute``, ``positive`` or ``negative``.

    Raises:
        ConfigError: unknown option.
    """

    name = "multi-scale"
    needs = (ReconstructsLevels,)
    unit = "intensity"
    once = True

    @configured("score")
    def __init__(self, *, aggregate: Literal["mean", "max"] = "mean", mode: Sign = "absolute") -> None:
        self.aggregate = aggregate
        self.mode = mode

    def __call__(self, model: ReconstructsLevels, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        found = run(lambda batch: self._aggregated(model, batch), x, mask)
        return Scored(found[len(x) :].mean(dim=0), found[: len(x)])

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
