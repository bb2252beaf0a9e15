from __future__ import annotations

import pytest
import torch

from aberra.densities.realnvp import RealNVP
from aberra.errors import ConfigError, NotFittedError


def _crescent(count, seed=0):
    """Points (N, 2) on a bent line, which no Gaussian describes."""
    generator = torch.Generator().manual_seed(seed)
    along = torch.randn(count, generator=generator)
    across = 0.1 * torch.randn(count, generator=generator)
    return torch.stack([along, along**2 + across], dim=1)


def _density(**options):
    torch.manual_seed(0)
    return RealNVP(**{"features": 2, "blocks": 4, "width": 32, "epochs": 40, "learning_rate": 5e-3} | options)


def test_it_learns_what_one_gaussian_cannot():
    z, new = _crescent(600), _crescent(300, seed=1)
    density = _density()
    found = density.fit(z, new, seed=0)
    normal = torch.distributions.MultivariateNormal(z.mean(dim=0), torch.cov(z.T))
    assert found["validation"] > float(normal.log_prob(new).mean()) + 0.5
    assert 1 <= found["epoch"] <= 40


def test_the_density_integrates_to_one():
    density = _density(epochs=5)
    density.fit(_crescent(300), _crescent(100, seed=1), seed=0)
    edge, high = torch.linspace(-8, 8, 321), torch.linspace(-12, 24, 721)
    grid = torch.cartesian_prod(edge, high)
    with torch.no_grad():
        total = density.log_density(grid).exp().sum() * (edge[1] - edge[0]) * (high[1] - high[0])
    assert float(total) == pytest.approx(1, abs=0.03)


def test_before_it_has_learnt_anything_it_is_a_standard_normal():
    z = torch.randn(5, 2)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1)
    torch.testing.assert_close(_density().standard_log_density(z), expected)


def test_the_same_seed_learns_the_same():
    z, new = _crescent(100), _crescent(50, seed=1)
    one, other = (_density(epochs=2) for _ in range(2))
    assert one.fit(z, new, seed=3) == other.fit(z, new, seed=3)
    assert torch.equal(one.log_density(new), other.log_density(new))


def test_parameters_are_those_of_the_publication():
    """Eight blocks of two couplings, each 256 → 512 → 512 for 512 features, with offsets."""
    count = sum(weight.numel() for weight in RealNVP(features=512).parameters())
    assert count == 8 * 2 * (256 * 512 + 512 + 512 * 512 + 512) == 6_307_840


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="features"):
        RealNVP(features=1)
    with pytest.raises(NotFittedError, match="realnvp: not fitted"):
        _density().log_density(torch.zeros(1, 2))
