from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from aberra.nets.ssim import ssim_map


@pytest.mark.parametrize("shape", [(40, 48), (24, 26, 28)])
def test_ssim_agrees_with_scikit_image_away_from_the_border(shape):
    rng = np.random.default_rng(0)
    a = rng.random(shape)
    b = np.clip(a + 0.2 * rng.standard_normal(shape), 0, 1)
    _, expected = structural_similarity(
        a, b, data_range=1.0, full=True, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    found = ssim_map(*(torch.from_numpy(each)[None, None] for each in (a, b)), data_range=1.0)[0, 0].numpy()
    inner = tuple(slice(8, -8) for _ in shape)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)
