from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.densities.map_density import BATCH, Maps
from aberra.densities.padim import PaDiM
from aberra.errors import NotFittedError


def _maps(count, features=2, seed=0):
    """At each of six locations a Gaussian of its own."""
    own = torch.Generator().manual_seed(9)
    mix = torch.randn(6, features, features, generator=own)
    centre = 3 * torch.randn(6, features, generator=own)
    z = torch.randn(count, 6, features, generator=torch.Generator().manual_seed(seed))
    z = torch.einsum("nlf,lgf->nlg", z, mix) + centre
    return Maps(z.movedim(1, -1).unflatten(-1, (2, 3)), lambda z: z)


def _fitted(maps, features=2, **options):
    padim = PaDiM(features=features, size=(2, 3), **options)
    assert set(padim.fit(maps, maps, seed=0)) == {"validation"}
    return padim


def test_the_energy_is_the_mahalanobis_distance_at_the_location():
    learnt, new = _maps(3 * BATCH + 5), _maps(20, seed=1)
    padim = _fitted(learnt, ridge=0.01)
    found = padim.energy(new.x)
    std = learnt.x.double().movedim(1, -1).reshape(-1, 2).std(dim=0, correction=0).numpy()
    for row, column in np.ndindex(2, 3):
        z, other = (each.x[:, :, row, column].double().numpy() for each in (learnt, new))
        covariance = np.cov(z.T) + 0.01 * np.diag(std**2)  # the ridge is one of standardised features
        apart = other - z.mean(axis=0)
        expected = np.sqrt(np.einsum("nf,fg,ng->n", apart, np.linalg.inv(covariance), apart))
        np.testing.assert_allclose(found[:, row, column].numpy(), expected, rtol=1e-3)


def test_units_of_the_features_do_not_matter():
    learnt, new, units = _maps(50), _maps(4, seed=2), torch.tensor([50.0, 0.1]).view(-1, 1, 1)
    other = _fitted(learnt.then(lambda z: z * units))
    torch.testing.assert_close(
        other.energy(new.x * units), _fitted(learnt).energy(new.x), rtol=1e-3, atol=1e-4
    )


def test_healthy_distances_are_as_large_as_there_are_features():
    """E[(z − μ)ᵀΣ⁻¹(z − μ)] = d."""
    padim = _fitted(_maps(4000, features=5), features=5, ridge=1e-6)
    found = padim.energy(_maps(4000, features=5, seed=1).x).square().mean()
    assert float(found) == pytest.approx(5, rel=0.03)


@pytest.mark.parametrize("rank", [1, 3, 5, 0])
def test_a_rank_keeps_the_widest_directions_and_the_mean_variance_of_the_others(rank):
    learnt, new = _maps(200, features=5), _maps(10, features=5, seed=1)
    padim = _fitted(learnt, features=5, rank=rank)
    z, other = (padim._standard(each.x)[:, :, 1, 2].double() for each in (learnt, new))
    variances, directions = torch.linalg.eigh(torch.cov(z.T) + 0.01 * torch.eye(5, dtype=torch.float64))
    others = 5 - (rank or 5)
    variances[:others] = variances[:others].mean()
    along = (other - z.mean(dim=0)) @ directions
    expected = (along**2 / variances).sum(dim=1).sqrt()
    torch.testing.assert_close(padim.energy(new.x)[:, 1, 2], expected.float(), rtol=1e-3, atol=1e-4)
    assert padim.directions.shape == (6, 5, rank or 5)


def test_features_are_drawn_once_by_the_seed():
    learnt = _maps(40, features=20)
    one, same, other = (PaDiM(features=20, size=(2, 3), chosen=4) for _ in range(3))
    for padim, seed in ((one, 0), (same, 0), (other, 1)):
        padim.fit(learnt, learnt, seed)
    assert len(set(one.chosen.tolist())) == 4
    assert torch.equal(one.chosen, same.chosen)
    assert not torch.equal(one.chosen, other.chosen)
    z = learnt.x[:2].clone()
    z[:, sorted({*range(20)} - {*one.chosen.tolist()})] = 1e3
    assert torch.equal(one.energy(z), one.energy(learnt.x[:2]))


def test_two_images_are_enough_and_none_is_said():
    assert _fitted(_maps(2)).energy(_maps(3, seed=1).x).isfinite().all()
    with pytest.raises(NotFittedError, match="padim: not fitted"):
        PaDiM(features=2, size=(2, 3)).energy(torch.zeros(1, 2, 2, 3))
