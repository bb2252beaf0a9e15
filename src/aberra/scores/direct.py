"""Models that score voxels themselves (intensity, z-map, controls)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from aberra.capabilities import ScoresVolume
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class Direct:
    """Takes the model's own voxel scores as they are."""

    name = "direct"
    needs = (ScoresVolume,)

    def __call__(self, model: ScoresVolume, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        with torch.inference_mode():
            found = model.score_volume(x.to(run.device), mask.to(run.device)).cpu()
        return Scored(found.clamp(min=0))
