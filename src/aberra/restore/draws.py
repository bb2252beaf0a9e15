"""Many healthy versions of a scan by the model's own randomness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import SamplesReconstructions
from aberra.options import Count, configured
from aberra.restore import Restored, Restores, mean_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Draws(Restores):
    """N healthy versions x̂ₙ, each compared with the scan: ``r = (1/N) Σₙ |x − x̂ₙ|`` with an
    absolute comparison.

    Baur et al. 2021 (arXiv 2004.03271), rows "Bayesian AE" and "Bayesian VAE": mean residual of N =
    100 draws. The draws are the model's: samples of the posterior, or masks of its dropout. Memory
    does not grow with N.

    Args:
        draws: N.
        average: compare the mean of the draws, instead of each.

    Raises:
        ConfigError: no draw.
    """

    name = "draws"
    needs = (SamplesReconstructions,)

    @configured("score.restore")
    def __init__(self, *, draws: Count = 100, average: bool = False) -> None:
        self.draws = draws
        self.average = average
        self.several = draws > 1 and not average

    def __call__(self, model: SamplesReconstructions, x: Tensor) -> Iterator[Restored]:
        """Yield the healthy versions of a batch (B, C, S)."""
        images = model.sample_reconstructions(x, self.draws)
        yield from map(Restored, [mean_image(images)] if self.average else images)
