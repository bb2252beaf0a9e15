from __future__ import annotations

import pytest
import torch

from aberra.capabilities import SamplesReconstructions
from aberra.errors import ConfigError
from aberra.scores.mahalanobis import Mahalanobis
from known_denoiser import with_lesion


def test_woodbury_agrees_with_the_covariance_matrix():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, 3, 6, 20, generator=generator, dtype=torch.float64)
    spread = draws - draws.mean(dim=2, keepdim=True)
    difference = torch.randn(2, 3, 20, generator=generator, dtype=torch.float64)
    for epsilon in (0.1, 1.0):
        found = Mahalanobis(epsilon=epsilon).distance(difference, spread)
        matrix = spread.mT @ spread / 5 + epsilon**2 * torch.eye(20, dtype=torch.float64)
        whitened = torch.linalg.solve(matrix, difference.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(found, (difference * whitened).clamp(min=0).sqrt())
        diagonal = Mahalanobis(epsilon=epsilon, covariance="diagonal").distance(difference, spread)
        variance = spread.square().sum(dim=2) / 5
        torch.testing.assert_close(diagonal, difference.abs() / (variance + epsilon**2).sqrt())


def test_draws_without_spread_give_the_residual_over_epsilon(brain):
    model, x, mask, run = brain
    sick, _ = with_lesion(x)
    model.noise = _silence
    chain = {"name": "partial-diffusion", "start": 250, "steps": 3, "draws": 3, "average": False}
    for covariance in Mahalanobis.COVARIANCES:
        score = Mahalanobis(restore=chain, epsilon=0.2, covariance=covariance)
        found = score(model, sick, mask, run).inside(mask)
        expected = (sick - found.reconstruction).abs()[0] / 0.2 * mask
        torch.testing.assert_close(found.map, expected, atol=1e-5, rtol=1e-4)


def test_any_restoration_that_draws_can_be_asked(linear):
    """Diagonal: |x − mean| / √(variance + ε²) of the VAE's own draws."""
    model, x, mask, run = linear
    score = Mahalanobis(restore={"name": "draws", "draws": 6}, covariance="diagonal", epsilon=0.3)
    assert score.needs == (SamplesReconstructions,)
    found = score(model, x, mask, run).inside(mask)
    with torch.no_grad():
        draws = torch.stack(list(model.sample_reconstructions(x.transpose(0, 1), 6)))[:, :, 0]
    inside = draws * mask
    expected = (x[0] - draws.mean(dim=0)).abs() / (inside.var(dim=0) + 0.09).sqrt() * mask
    torch.testing.assert_close(found.map, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"restore": {"name": "draws", "draws": 1}},
        {"restore": {"name": "reconstruct"}},
        {"covariance": "spatial"},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        Mahalanobis(**options)


def _silence(_, like):
    return torch.zeros_like(like[:1])
