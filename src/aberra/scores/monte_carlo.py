"""Many healthy versions of a scan: how far they are away on average, or how much they differ (B31, B32, B52, B57, Z26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from aberra.errors import ConfigError
from aberra.options import Count, Sigma, configured
from aberra.scores import Scored
from aberra.scores.residual import Sign, signed
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.capabilities import SamplesReconstructions
    from aberra.detector.windows import Runner

Of = Literal["residual", "variance", "std"]


class MonteCarlo:
    """``r = (1/N) Σₙ |x − x̂ₙ|``, or the spread of x̂ₙ over N draws; mean over channels.

    Baur et al. 2021 (arXiv 2004.03271), rows "Bayesian AE" and "Bayesian VAE": mean residual of N = 100 draws (B52). Variance
    over the draws: Kendall & Gal 2017 as used by Baur et al. 2020 (B57); standard deviation: Zimmerer et al. 2019, "sampling
    variance" (Z26). The draws are the model's: samples of the posterior, or masks of its dropout.

    Args:
        of: ``residual``, ``variance`` (over the draws, divisor N) or ``std`` (its square root).
        draws: N.
        mode: sign of the residual, as in :class:`aberra.scores.residual.Residual`: ``absolute``, ``positive`` or ``negative``.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option, too few draws or negative smoothing.

    The reconstruction is the mean of the draws. Memory does not grow with N.
    """

    name = "monte-carlo"
    needs = ("SamplesReconstructions",)

    @configured("score")
    def __init__(
        self, *, of: Of = "residual", draws: Count = 100, mode: Sign = "absolute", smooth: Sigma = 0.0
    ) -> None:
        fewest = 1 if of == "residual" else 2
        if draws < fewest:
            raise ConfigError(f"score.draws={draws}; expected {fewest} or more with of='{of}'")
        self.of = of
        self.unit = "intensity" if of == "residual" else ""
        self.draws = draws
        self.mode = mode
        self.smooth = smooth

    def __call__(self, model: SamplesReconstructions, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        found = run(lambda batch: self._accumulate(model, batch), x, mask)
        restored, values = found[: len(x)], found[len(x) :]
        values = smoothed(values.mean(dim=0).clamp(min=0), mask, sigma=self.smooth, dims=run.dims)
        return Scored(values, restored * mask)

    def _accumulate(self, model: SamplesReconstructions, x: Tensor) -> Tensor:
        """Mean of the draws and the score, stacked: (B, C, S) to (B, 2C, S)."""
        mean, total = torch.zeros_like(x, dtype=torch.float32), torch.zeros_like(x, dtype=torch.float32)
        for count, draw in enumerate(model.sample_reconstructions(x, self.draws), start=1):
            step = draw.float() - mean
            mean = mean + step / count
            if self.of == "residual":
                total = total + signed(x - draw, self.mode)
            else:  # Welford: E[x̂²] − E[x̂]² would lose the digits that matter
                total = total + step * (draw - mean)
        total = total / self.draws
        return torch.cat([mean, total.clamp(min=0).sqrt() if self.of == "std" else total], dim=1)
