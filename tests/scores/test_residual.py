from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.nets.ssim import ssim_map
from aberra.scores.residual import Residual


class Blurs:
    """Reconstructs a damped version of its input."""

    def reconstruct(self, x):
        return 0.7 * x + 0.1


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


def test_structural_modes_mix_ssim_and_the_absolute_error():
    torch.manual_seed(0)
    x, mask, run = (
        torch.rand(2, 3, 32, 32),
        torch.ones(3, 32, 32, dtype=torch.bool),
        Runner(dims=2, size=(32, 32)),
    )
    absolute, ssim = (Residual(mode=mode)(Blurs(), x, mask, run).map for mode in ("absolute", "ssim"))
    for alpha in (0.0, 0.3, 1.0):
        mixed = Residual(mode="structural", alpha=alpha)(Blurs(), x, mask, run).map
        torch.testing.assert_close(mixed, alpha * ssim + (1 - alpha) * absolute)

    class Copies:
        def reconstruct(self, batch):
            return batch

    assert Residual(mode="ssim")(Copies(), x, mask, run).map.max() < 1e-5


def test_slices_of_a_2d_model_do_not_see_each_other_in_ssim():
    torch.manual_seed(0)
    x, mask, run = (
        torch.rand(1, 5, 32, 32),
        torch.ones(5, 32, 32, dtype=torch.bool),
        Runner(dims=2, size=(32, 32)),
    )
    whole = Residual(mode="ssim")(Blurs(), x, mask, run).map
    alone = Residual(mode="ssim")(Blurs(), x[:, 2:3], mask[2:3], run).map
    torch.testing.assert_close(whole[2], alone[0])


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.5, "mode": "structural"},
        {"alpha": 0.5},
        {"alpha": 0.5, "mode": "ssim"},
        {"data_range": 0.0, "mode": "ssim"},
        {"data_range": 2.0},
        {"smooth": -1.0},
        {"mode": "squared"},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        Residual(**options)
