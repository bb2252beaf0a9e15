"""A denoiser in closed form: pixels are independent, x ~ N(m, s²), and the estimate is E[x₀ | x_t]
for the mean m and variance s².
"""

from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.diffusion.noise import shared
from aberra.diffusion.schedule import Estimate, Schedule


class KnownDenoiser:
    """``x̂₀ = m + g·(x_t − √ᾱ·m)``, ``g = √ᾱ·s² / (ᾱ·s² + 1 − ᾱ)``; counts what it is asked."""

    def __init__(self, mean, deviation=0.05, steps=1000, schedule="linear"):
        self.mean = mean
        self.deviation = deviation
        self.schedule = Schedule(kind=schedule, steps=steps)
        self.asked = []

    def process(self):
        return self.schedule

    def noise(self, seed, like):
        return shared("gaussian", seed, like)

    def gain(self, t):
        level, variance = float(self.schedule.alpha_bar[t]), self.deviation**2
        return level**0.5 * variance / (level * variance + 1 - level)

    def denoise(self, noisy, t, label=None):  # noqa: ARG002 - knows no classes
        self.asked.append(t)
        level = self.schedule.at(t, noisy)
        image = self.mean + self.gain(t) * (noisy - level.sqrt() * self.mean)
        return Estimate(image, (noisy - level.sqrt() * image) / (1 - level).sqrt())

    def feature_maps(self, x):
        """The image and its complement, and both at half the size: the direction of a place is its
        brightness.
        """
        both = torch.cat([x, 1 - x], dim=1)
        pool = torch.nn.functional.avg_pool2d if x.ndim == 4 else torch.nn.functional.avg_pool3d
        return [both, pool(both, 2)]


SIZE = 16


@pytest.fixture
def brain():
    """Its denoiser, five slices of a smooth mean image, a mask that leaves out a rim, and what runs
    it.
    """
    coarse = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    mean = 0.3 + 0.4 * torch.nn.functional.interpolate(
        coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False
    )
    x = mean[0].unsqueeze(1).expand(1, 5, SIZE, SIZE).clone()
    mask = torch.ones(5, SIZE, SIZE, dtype=torch.bool)
    mask[:, 0] = False
    return KnownDenoiser(mean), x, mask, Runner(dims=2, size=(SIZE, SIZE))


def with_lesion(x):
    """The slices with a bright square, and where it is."""
    sick, lesion = x.clone(), torch.zeros(x.shape[1:], dtype=torch.bool)
    lesion[:, 5:10, 6:11] = True
    sick[:, lesion] += 0.4
    return sick, lesion
