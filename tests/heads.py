"""Whole heads around phantoms' brains, for tests of brain extraction."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from aberra.synthesis.phantom import draw_phantom, render
from aberra.volume import Volume

ROOM = 8
"""Voxels around the brain."""


def whole_head(contrast="t1", seed=5, spacing=3.0):
    """A phantom's brain in a dark skull and a bright scalp, with noise in the air, and the brain's
    mask.
    """
    brain = render(draw_phantom(seed, 0, contrast), spacing)
    mask, data = np.pad(brain.mask, ROOM), np.pad(brain.data[0], ROOM)
    away = distance_transform_edt(~mask) * spacing
    level = float(np.percentile(brain.data[0][brain.mask], 90))
    data[(away > 0) & (away <= 5)] = 0.15 * level
    data[(away > 5) & (away <= 13)] = 1.2 * level
    data += np.abs(np.random.default_rng(0).normal(0, 0.02 * level, data.shape)).astype(np.float32)
    affine = brain.affine.copy()
    affine[:3, 3] -= ROOM * spacing
    return Volume(data=data[None], affine=affine, channels=(contrast,), provenance={"warnings": []}), mask
