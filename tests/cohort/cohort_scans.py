"""Synthetic scans for the tests of the cohort room."""

from __future__ import annotations

import numpy as np


def ball(seed=0, *, shape=(24, 26, 28), noise=0.0, skull=False, gain=1.0):
    """A head in arbitrary units: grey and white matter, on a zero or noisy background, perhaps in a
    skull.
    """
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    data = np.where(radius < 0.7, 60.0, 0.0)
    data[radius < 0.5] = 100.0
    if skull:
        data[(radius > 0.8) & (radius < 0.95)] = 120.0
    data[data > 0] += rng.normal(0, 2, int((data > 0).sum()))
    return (gain * (data + noise * np.abs(rng.normal(size=shape)))).astype(np.float32)
