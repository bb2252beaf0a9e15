from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError, NotFittedError
from aberra.models import pca
from aberra.models.pca import PCA


def _samples(count=20, channels=2, size=(6, 5), rank=None):
    generator = torch.Generator().manual_seed(0)
    pixels = channels * size[0] * size[1]
    if rank is None:
        flat = torch.randn(count, pixels, generator=generator) * torch.linspace(3, 0.5, pixels)
    else:
        flat = torch.randn(count, rank, generator=generator) @ torch.randn(rank, pixels, generator=generator)
    return (flat + 5).reshape(count, channels, *size)


def _fitted(x, components, seed=0):
    model = PCA(channels=x.shape[1], dims=x.ndim - 2, size=x.shape[2:], components=components)
    model.fit_samples(x, torch.ones_like(x[:, :1]), seed)
    return model


def _error(x, restored):
    return float(((x - restored) ** 2).sum())


def test_components_are_orthonormal_and_the_projection_idempotent():
    x = _samples()
    model = _fitted(x, 7)
    torch.testing.assert_close(model.components @ model.components.T, torch.eye(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.mean, x.flatten(1).mean(dim=0))
    other = torch.randn(4, 2, 6, 5)
    once = model.reconstruct(other)
    torch.testing.assert_close(model.reconstruct(once), once, atol=1e-4, rtol=0)


def test_components_are_those_of_the_singular_value_decomposition():
    x = _samples()
    model = _fitted(x, 5)
    centred = x.flatten(1) - x.flatten(1).mean(dim=0)
    _, _, directions = torch.linalg.svd(centred.double(), full_matrices=False)
    overlap = (model.components.double() @ directions[:5].T).abs()
    torch.testing.assert_close(overlap, torch.eye(5, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("components", [4, 10, 30])
def test_samples_come_back_exactly_where_the_components_span_them(components):
    """Rank 4: more components change nothing, they stay zero."""
    x = _samples(rank=4)
    model = _fitted(x, components)
    torch.testing.assert_close(model.reconstruct(x), x, atol=1e-4, rtol=0)
    assert int((model.components.norm(dim=1) > 0).sum()) == 4
    assert model.components.shape == (components, 60)


def test_more_components_than_samples_leave_samples_minus_one():
    x = _samples(count=8)
    model = _fitted(x, 20)
    assert int((model.components.norm(dim=1) > 0).sum()) == 7
    torch.testing.assert_close(model.reconstruct(x), x, atol=1e-4, rtol=0)


def test_no_other_subspace_of_the_same_rank_is_better():
    x = _samples()
    best = _fitted(x, 3)
    error = _error(x, best.reconstruct(x))
    for seed in range(20):
        other = _fitted(x, 3)
        nudge = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed))
        # near ones, too: the optimum is one
        for amount in (0.1, 10.0):
            other.components.copy_(torch.linalg.qr(best.components.T + amount * nudge).Q.T)
            assert _error(x, other.reconstruct(x)) > error


def test_one_sample_is_its_own_mean():
    x = _samples(count=1)
    torch.testing.assert_close(_fitted(x, 3).reconstruct(torch.rand_like(x)), x)


def test_memory_saving_pieces_and_the_seed_change_nothing(monkeypatch):
    x = _samples()
    whole = _fitted(x, 4)
    monkeypatch.setattr(pca, "COLUMNS", 7)
    torch.testing.assert_close(_fitted(x, 4, seed=1).reconstruct(x), whole.reconstruct(x), atol=1e-4, rtol=0)


def test_fitting_again_forgets_what_was_learnt_before():
    model = _fitted(_samples(), 6)
    x = _samples(rank=2)
    model.fit_samples(x, x[:, :1], 0)
    assert int((model.components.norm(dim=1) > 0).sum()) == 2


def test_three_dimensions_and_no_component():
    x = torch.rand(5, 1, 4, 4, 4)
    assert _fitted(x, 2).reconstruct(x).shape == x.shape
    with pytest.raises(ConfigError, match="components=0"):
        PCA(channels=1, size=(4, 4), components=0)
    with pytest.raises(ConfigError, match=r"prepare.size=\[4, 4, 4\]: expected 2 edges"):
        PCA(channels=1, size=(4, 4, 4))


def test_what_was_not_fitted_says_so_and_what_saw_only_zeros_is_not_fitted():
    model = PCA(channels=1, size=(4, 4), components=2)
    with pytest.raises(NotFittedError, match="pca: not fitted"):
        model.reconstruct(torch.rand(2, 1, 4, 4))
    constant = torch.full((3, 1, 4, 4), 0.5)  # spans nothing, but its mean is learnt
    model.fit_samples(constant, constant, 0)
    torch.testing.assert_close(model.reconstruct(torch.rand(2, 1, 4, 4)), constant[:2])
