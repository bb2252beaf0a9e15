from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError, NotFittedError
from aberra.models.standardised_pca import StandardisedPCA


def _volumes(count=8, channels=2, size=(3, 4, 5)):
    """Voxels of very different levels and spreads."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(channels, *size, generator=generator) * 9 + 0.5
    level = torch.rand(channels, *size, generator=generator) * 20
    return level + spread * torch.randn(count, channels, *size, generator=generator)


def _fitted(x, components, **options):
    model = StandardisedPCA(
        channels=x.shape[1], dims=x.ndim - 2, size=x.shape[2:], components=components, **options
    )
    model.fit_samples(x, torch.ones_like(x[:, :1]), 0)
    return model


def _z(model, x):
    return (x / model.spread.view(x.shape[1:])).flatten(1) - model.mean


def test_all_components_give_back_the_volumes_that_were_learnt():
    x = _volumes()
    model = _fitted(x, 7)
    torch.testing.assert_close(model.reconstruct(x), x, atol=1e-3, rtol=0)
    assert float(model.score_pixels(x).max()) < 1e-3


def test_the_residual_is_orthogonal_to_the_components():
    x = _volumes()
    model, other = _fitted(x, 3), _volumes(count=12)[8:]
    residual = ((other - model.reconstruct(other)) / model.spread.view(other.shape[1:])).flatten(1)
    assert float(residual.norm(dim=1).min()) > 1
    torch.testing.assert_close(residual @ model.components.T, torch.zeros(4, 3), atol=1e-3, rtol=0)


def test_every_voxel_counts_alike_whatever_its_scale():
    """The map does not change when voxels are measured in other units, each in its own."""
    x = _volumes()
    units = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(1)) * 5 + 0.1
    one, other = _fitted(x, 3, floor=0.0), _fitted(x * units, 3, floor=0.0)
    torch.testing.assert_close(one.score_pixels(x), other.score_pixels(x * units), atol=1e-3, rtol=0)
    torch.testing.assert_close(_z(one, x).std(dim=0, correction=0), torch.ones(120), atol=1e-4, rtol=0)


def test_without_a_component_that_explains_anything_it_is_the_distance_in_spreads():
    x = torch.tensor([[0.0, 1.0], [4.0, 1.0]]).reshape(2, 1, 1, 2)
    model = StandardisedPCA(channels=1, size=(1, 2), components=1)
    model.fit_samples(x, x, 0)
    model.components.zero_()  # μ = 2, 1 and σ = 2, and the floor of ¼ · 2
    found = model.score_pixels(torch.tensor([[[[6.0, 3.0]]]]))
    torch.testing.assert_close(found, torch.tensor([[[[2.0, 4.0]]]]), atol=1e-4, rtol=0)


def test_what_never_varies_has_the_floor_and_not_infinity():
    x = _volumes()
    x[:, :, 0] = 0
    model = _fitted(x, 3)
    varied = model.spread.view(x.shape[1:])[:, 1:]
    floor = model.spread.view(x.shape[1:])[:, 0]
    torch.testing.assert_close(floor, torch.full_like(floor, float(0.25 * varied.mean())), rtol=0.1, atol=0)
    still = torch.ones(3, 1, 4, 4)
    constant = _fitted(still, 2)
    torch.testing.assert_close(constant.reconstruct(still), still)


def test_what_cannot_be_is_refused():
    with pytest.raises(NotFittedError, match="standardised-pca: not fitted"):
        StandardisedPCA(channels=1, size=(4, 4)).score_pixels(torch.rand(1, 1, 4, 4))
    with pytest.raises(ConfigError, match="floor"):
        StandardisedPCA(channels=1, size=(4, 4), floor=-1.0)
