from __future__ import annotations

import pytest
import torch
from linear_vae import LinearVAE

from aberra.detector.windows import Runner


@pytest.fixture
def linear():
    """A linear-Gaussian VAE of 6×6 images, five slices, a mask, and what runs it."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(5, 6, 6, dtype=torch.bool)
    mask[:, 0] = False
    return LinearVAE(), torch.rand(1, 5, 6, 6, generator=generator), mask, Runner(dims=2, size=(6, 6))
