from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture as Mixture

from aberra.densities.gmm import GaussianMixture
from aberra.errors import ConfigError, NotFittedError, TrainingError


def _clouds(count, seed=0, features=4):
    """Features of three kinds, far apart, whose axes have other units."""
    generator = torch.Generator().manual_seed(seed)
    centres = 12 * torch.randn(3, features, generator=torch.Generator().manual_seed(9))
    kinds = torch.randint(3, (count,), generator=generator)
    return (centres[kinds] + torch.randn(count, features, generator=generator)) * torch.tensor(
        [1.0, 100.0, 0.01, 1.0]
    )


@pytest.mark.parametrize("count", [1, 3])
def test_the_log_density_is_scikit_learns(count):
    z, new = _clouds(300), _clouds(50, seed=1)
    density = GaussianMixture(features=4, components=[count, 5], tolerance=1e-6)
    density.components = (count,)  # a place is left over
    density.fit(z, new, seed=0)
    kept = density.whitening[:count].double()
    theirs = Mixture(count)
    theirs.weights_ = density.weights[:count].double().numpy()
    theirs.means_ = density.means[:count].double().numpy()
    theirs.precisions_cholesky_ = kept.numpy()
    theirs.covariances_ = torch.linalg.inv(kept @ kept.mT).numpy()
    standard = ((new - density.mean) / density.std).double().numpy()
    expected = torch.from_numpy(theirs.score_samples(standard)).float() - density.std.log().sum()
    torch.testing.assert_close(density.log_density(new), expected, rtol=1e-5, atol=1e-4)


def test_units_of_the_features_change_the_density_by_their_volume_only():
    z, new, units = _clouds(300), _clouds(50, seed=1), torch.tensor([3.0, 0.1, 7.0, 1.0])
    one, other = (GaussianMixture(features=4, components=[3]) for _ in range(2))
    one.fit(z, new, seed=0)
    other.fit(z * units, new * units, seed=0)
    torch.testing.assert_close(
        other.log_density(new * units), one.log_density(new) - units.log().sum(), rtol=1e-3, atol=1e-2
    )


def test_as_many_components_are_chosen_as_make_unseen_features_likeliest():
    z, new = _clouds(300), _clouds(200, seed=1)
    density = GaussianMixture(features=4, components=[1, 3, 40])
    found = density.fit(z, new, seed=0)
    assert found["components"] == 3
    assert found["validation"] == pytest.approx(float(density.log_density(new).mean()), abs=1e-3)
    assert (density.weights > 0).sum() == 3
    assert density.weights.sum() == pytest.approx(1)
    # 40 are likelier for what was learnt from: it is the unseen ones that decide
    many = GaussianMixture(features=4, components=[40])
    many.fit(z, z, seed=0)
    assert many.log_density(z).mean() > density.log_density(z).mean()


def test_without_unseen_features_the_last_fifth_is_held_back():
    z = _clouds(100)
    one, other = (GaussianMixture(features=4, components=[1, 3]) for _ in range(2))
    assert one.fit(z, z[:0], seed=0) == other.fit(z[:80], z[80:], seed=0)
    assert torch.equal(one.means, other.means)


def test_a_feature_that_stands_still_does_no_harm():
    z = _clouds(100)
    z[:, 2] = 5.0
    density = GaussianMixture(features=4, components=[1])
    density.fit(z, z, seed=0)
    assert density.log_density(z).isfinite().all()
    moved = z[:1] + torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert density.log_density(moved) < density.log_density(z[:1]) - 1000


def test_gradients_are_finite_with_places_left_over():
    z = _clouds(100)
    density = GaussianMixture(features=4, components=[1, 3, 16])
    density.fit(z, z, seed=0)
    point = z[:5].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_density(point).sum(), point)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_what_cannot_be_learnt_is_refused():
    with pytest.raises(NotFittedError, match="gmm: not fitted"):
        GaussianMixture(features=4).log_density(torch.zeros(1, 4))
    with pytest.raises(ConfigError, match="components"):
        GaussianMixture(features=4, components=[])
    with pytest.raises(TrainingError, match="8 of them, but 5 samples"):
        GaussianMixture(features=4).fit(_clouds(5), _clouds(5), seed=0)
    with pytest.raises(TrainingError, match="expected 2 or more"):
        GaussianMixture(features=4).fit(_clouds(1), _clouds(5), seed=0)
    with pytest.raises(TrainingError, match="not finite"):
        GaussianMixture(features=4).fit(_clouds(9) / 0, _clouds(5), seed=0)


def test_a_covariance_that_cannot_be_inverted_names_the_remedy():
    z = _clouds(50)
    z = torch.cat([z, z], dim=1)
    with pytest.raises(TrainingError, match=r"raise model.density.ridge above 1e-30"):
        GaussianMixture(features=8, components=[3], ridge=1e-30).fit(z, z, seed=0)
    GaussianMixture(features=8, components=[3]).fit(z, z, seed=1 << 40)
