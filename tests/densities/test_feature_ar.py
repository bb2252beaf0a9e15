from __future__ import annotations

import math

import pytest
import torch

from aberra.densities.feature_ar import FeatureAR
from aberra.densities.map_density import Maps
from aberra.errors import NotFittedError, TrainingError

SMALL = {"width": 16, "blocks": 2, "dilation": 1, "epochs": 8}


def _noise(count, size=(6, 6), seed=0):
    return Maps(torch.randn(count, 2, *size, generator=torch.Generator().manual_seed(seed)), lambda z: z)


def _walks(count, seed=0):
    """Each location is its left neighbour and noise of σ 0.1."""
    steps = torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    steps[..., 1:] *= 0.1
    return Maps(steps.cumsum(dim=-1), lambda z: z)


def _fitted(maps, validation, **options):
    torch.manual_seed(0)
    density = FeatureAR(features=2, size=maps.x.shape[2:], **(SMALL | options))
    return density, density.fit(maps, validation, seed=0)


@pytest.mark.parametrize("size", [(6, 6), (4, 4, 4)])
def test_a_prediction_depends_neither_on_the_location_nor_on_those_behind_it(size):
    density, _ = _fitted(_noise(20, size), _noise(4, size, seed=1), epochs=2)
    z = _noise(1, size, seed=2).x
    places = math.prod(size)
    for place in (0, places // 2, places - 1):
        changed = z.flatten(2).clone()
        changed[:, :, place:] += 10
        changed = changed.view_as(z)
        for one, other in zip(density.foretold(z), density.foretold(changed), strict=True):
            torch.testing.assert_close(one.flatten(2)[:, :, : place + 1], other.flatten(2)[:, :, : place + 1])
        energy, after = (density.energy(each).flatten(1) for each in (z, changed))
        torch.testing.assert_close(energy[:, :place], after[:, :place])
        assert not torch.allclose(energy[:, place], after[:, place])


def test_every_location_before_can_count_but_for_the_blind_spot():
    density, _ = _fitted(_noise(20), _noise(4, seed=1), epochs=2)
    z = _noise(1, seed=2).x.requires_grad_()
    (gradient,) = torch.autograd.grad(density.foretold(z)[0][0, :, 3, 3].sum(), z)
    seen = gradient.abs().sum(dim=(0, 1)) > 0
    assert seen[:3, :4].all()
    assert seen[3, :3].all()
    assert not seen[3, 3:].any()
    assert not seen[4:].any()


def test_what_can_be_foretold_is_and_so_is_how_well():
    """But in the first column the error is that of the noise, 0.1, and so is σ."""
    density, found = _fitted(_walks(400), _walks(100, seed=1), epochs=20, width=32, learning_rate=5e-3)
    new = density._standard(_walks(100, seed=2).x)
    mean, log_variance = density.foretold(new)
    unit = density.std.square().mean()
    error, variance = ((new - mean).square() * unit), log_variance.exp() * unit
    assert float(error[..., 1:].mean()) < 0.03
    assert 0.5 < float((error / variance)[..., 1:].mean()) < 2
    assert float(variance[..., 0].mean()) > 0.5
    assert 1 <= found["epoch"] <= 20
    broken = _walks(20, seed=3).x
    usual = density.energy(broken)[:, 3, 3].mean()
    broken[:, :, 3, 3] += 2
    assert density.energy(broken)[:, 3, 3].mean() > 3 * usual


def test_the_density_is_a_normal_one_and_the_energy_its_distance():
    density, _ = _fitted(_noise(40), _noise(10, seed=1))
    new = density._standard(_noise(5, seed=2).x)
    mean, log_variance = density.foretold(new)
    normal = torch.distributions.Normal(mean, log_variance.exp().sqrt())
    found = density.standard_log_density(new)
    torch.testing.assert_close(found, normal.log_prob(new).sum(dim=1))
    constant = normal.log_prob(mean).sum(dim=1)
    torch.testing.assert_close(density.standard_energy(new) ** 2 / 2, constant - found, rtol=1e-4, atol=1e-4)


def test_nothing_is_left_to_train_and_the_same_seed_learns_the_same():
    one, found = _fitted(_noise(20), _noise(5, seed=1))
    other, again = _fitted(_noise(20), _noise(5, seed=1))
    assert found == again
    assert not any(weight.requires_grad for weight in one.parameters())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_96_features_take_as_many_parameters_as_documented():
    density = FeatureAR(features=96, size=(32, 32))
    assert sum(each.numel() for each in density.parameters()) == 463_680
    numbers = sum(tensor.numel() for tensor in density.state_dict().values())
    assert numbers == 463_680 + 2 * 96 + 1


def test_what_cannot_be_is_said():
    with pytest.raises(NotFittedError, match="feature-ar: not fitted"):
        FeatureAR(features=2, size=(6, 6), **SMALL).energy(torch.zeros(1, 2, 6, 6))
    with pytest.raises(
        TrainingError, match="feature-ar: the likelihood of the validation maps is not finite"
    ):
        _fitted(_noise(20), _noise(5, seed=1), learning_rate=1e30)
