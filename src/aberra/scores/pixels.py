"""Models that score the pixels of a slice or patch themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import ScoresPixels
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class Pixels:
    """Takes the model's own scores of slices (2-D) or of overlapping patches (3-D) as they are."""

    name = "pixels"
    needs = (ScoresPixels,)
    once = True

    def __call__(self, model: ScoresPixels, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        return Scored(run(model.score_pixels, x, mask)[0].clamp(min=0))
