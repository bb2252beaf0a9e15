from __future__ import annotations

import pytest
import torch

from aberra.diffusion.schedule import Estimate, Schedule


class GaussianWorld:
    """Pixels are independent N(m, s²): the best denoiser and the paths of the probability-flow ODE
    are known.
    """

    def __init__(self, mean=0.7, deviation=0.4, schedule=None):
        self.mean = mean
        self.deviation = deviation
        self.schedule = schedule or Schedule()

    def moments(self, t):
        """Mean and standard deviation of x_t."""
        level = float(self.schedule.alpha_bar[t])
        return level**0.5 * self.mean, (level * self.deviation**2 + 1 - level) ** 0.5

    def denoise(self, x, t):
        level = float(self.schedule.alpha_bar[t])
        mean, deviation = self.moments(t)
        image = self.mean + level**0.5 * self.deviation**2 / deviation**2 * (x - mean)
        return Estimate(image, (x - level**0.5 * image) / (1 - level) ** 0.5)

    def carried(self, x, t, s):
        """Where the ODE takes x_t at step s: it keeps the number of standard deviations from the
        mean.
        """
        (mean, deviation), (mean_s, deviation_s) = self.moments(t), self.moments(s)
        return mean_s + deviation_s * (x - mean) / deviation


@pytest.fixture
def gaussian():
    return GaussianWorld


@pytest.fixture
def noise():
    """(2, 1, 8, 8) of N(0, 1), float64."""
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
