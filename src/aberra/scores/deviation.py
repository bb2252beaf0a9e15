"""How far a scan is from what was expected, in expected spreads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from aberra.capabilities import Expects
from aberra.compare.difference import Sign, signed
from aberra.errors import ConfigError
from aberra.options import configured
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class Deviation:
    """``z = (x − μ) / σ``, its absolute value or one sign of it; mean over channels.

    The reconstruction is μ.

    Args:
        mode: ``absolute``, ``positive`` (brighter than expected: lesions on FLAIR and T2) or
            ``negative`` (darker: on T1); or a list with one a channel.

    Raises:
        ConfigError: unknown mode, or another number of modes than channels.
    """

    name = "deviation"
    needs = (Expects,)

    @configured("score")
    def __init__(self, *, mode: Sign | Sequence[Sign] = "absolute") -> None:
        self.modes: list[Sign] = [mode] if isinstance(mode, str) else list(mode)

    def __call__(self, model: Expects, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        modes = self.modes * len(x) if len(self.modes) == 1 else self.modes
        if len(modes) != len(x):
            raise ConfigError(f"score.mode has {len(modes)} entries, the scan {len(x)} channel(s)")
        with torch.inference_mode():
            place = x.to(run.device)
            mean, spread = model.expect(place, mask.to(run.device))
            z = (place - mean) / spread
            found = torch.stack([signed(each, mode) for each, mode in zip(z, modes, strict=True)]).mean(dim=0)
        return Scored(found.cpu(), mean.cpu())
