from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.vae import VAE
from aberra.restore.restoration import GRID, Restoration, shrink_variation, total_variation
from aberra.volume import Volume


def test_total_variation_is_the_sum_of_steps():
    x = torch.zeros(2, 1, 5, 5)
    x[0, 0, 2, 2] = 3.0
    x[1, 0, :, 3:] = 2.0
    assert total_variation(x).tolist() == [4 * 3.0, 5 * 2.0]
    assert total_variation(torch.ones(1, 2, 4, 4, 4)).item() == 0


@pytest.mark.parametrize("schedule", Restoration.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_steps_of_both_schedules_walk_the_same_length(schedule, steps):
    sizes = Restoration(schedule=schedule, steps=steps, length=0.5).sizes()
    assert len(sizes) == steps
    assert sum(sizes) == pytest.approx(0.5)
    assert min(sizes) > 0
    assert sizes == sorted(sizes, reverse=True)


def test_the_published_steps_are_a_setting():
    assert Restoration(schedule="constant", steps=500).sizes() == pytest.approx([1e-3] * 500)


def test_restoring_follows_the_gradient_flow_of_the_closed_form(linear):
    """Without TV the flow is linear, x' = −H(x − b), and x(t) = b + exp(−H t)(x − b)."""
    model, x, _, _ = linear
    batch = x.transpose(0, 1)
    identity = torch.eye(36)
    left = identity - model.decoder @ model.encoder
    hessian = (left.T @ left + model.encoder.T @ model.encoder).detach()
    decay = torch.linalg.matrix_exp(-hessian * 0.5)
    expected = (batch.flatten(1) - model.offset) @ decay.T + model.offset
    for schedule, steps, tolerance in (("constant", 2000, 2e-3), ("decreasing", 200, 2e-2)):
        found = Restoration(tv=0.0, schedule=schedule, steps=steps).restore(model, batch).flatten(1)
        assert float((found - expected.detach()).abs().max()) < tolerance
    start, end = (
        Restoration(tv=0.0).negative_elbo(model, each).detach()
        for each in (batch, found.reshape(batch.shape))
    )
    assert (end < start).all()
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize("shape", [(2, 2, 7, 9), (1, 1, 5, 6, 4)])
def test_the_proximal_map_of_the_total_variation_is_the_minimum(shape):
    """It meets the optimality condition (x − u) / w ∈ ∂TV(u), and its dual the bound."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dual = [torch.zeros_like(x.diff(dim=axis)) for axis in range(2, x.ndim)]
    for _ in range(100):
        u, dual = shrink_variation(x, 0.1, dual)
    assert max(float(each.abs().max()) for each in dual) <= 0.1
    # (x − u) / w is a subgradient at u if it has norm ≤ 1 in the dual, and its product with u
    # is TV(u)
    inner = ((x - u) / 0.1 * u).flatten(1).sum(dim=1)
    torch.testing.assert_close(inner, total_variation(u), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(u.flatten(2).mean(dim=2), x.flatten(2).mean(dim=2))
    for _ in range(100):
        flat, dual = shrink_variation(x, 1e3, dual)
    assert float(total_variation(flat).max()) < 1e-3 * float(total_variation(x).max())


class Known:
    """Knows the healthy image; −log p is the absolute error, or half the squared one, to it."""

    def __init__(self, healthy, power):
        self.healthy = healthy
        self.power = power

    def elbo_terms(self, x):
        error = ((x - self.healthy).abs() ** self.power / self.power).flatten(1).sum(dim=1)
        return error, torch.zeros_like(error)


def _blobs():
    """A smooth image, and the same with bright discs of radius 7 and 1.5."""
    coarse = torch.rand((1, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    healthy = torch.nn.functional.interpolate(coarse, size=(40, 40), mode="bilinear", align_corners=True)
    row, column = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    large = (row - 14) ** 2 + (column - 14) ** 2 <= 7**2
    small = (row - 32) ** 2 + (column - 30) ** 2 <= 1.5**2
    return healthy, healthy + 0.4 * (large | small), large, small


@pytest.mark.parametrize(
    ("power", "tv"), [(1, 0.0), (1, 0.1), (1, 0.5), (1, 1.0), (2, 0.0), (2, 0.1), (2, 0.5)]
)
def test_few_proximal_steps_agree_with_many_subgradient_steps(power, tv):
    healthy, x, _, _ = _blobs()
    model = Known(healthy, power)
    slow = Restoration(schedule="constant", steps=2000, tv=tv).restore(model, x) - x
    fast = Restoration(steps=50, tv=tv).restore(model, x) - x
    assert float((slow - fast).abs().mean()) < 0.01
    assert float(torch.corrcoef(torch.stack([slow.flatten(), fast.flatten()]))[0, 1]) > 0.99


def test_total_variation_holds_what_is_thinner_than_twice_its_weight():
    """A disc under a force of 1 a pixel moves where its area outweighs λ times its perimeter."""
    healthy, x, large, small = _blobs()
    free, held = ((x - Restoration(tv=tv).restore(Known(healthy, 1), x))[0, 0] for tv in (0.0, 1.5))
    assert float(free[large].mean()) > 0.35
    assert float(free[small].mean()) > 0.35
    assert float(held[large].mean()) > 0.2
    assert float(held[small].mean()) < 0.05


def test_lambda_comes_from_healthy_cases_where_it_is_auto(linear):
    torch.manual_seed(0)
    model = VAE(channels=1, size=(32, 32), network={"width": 4}, latent=4).eval()
    run = Runner(dims=2, size=(32, 32))
    volumes = [
        Volume(data=np.random.default_rng(n).random((1, 6, 32, 32)), affine=np.eye(4)) for n in range(3)
    ]
    restore = Restoration(steps=4, tv="auto")
    found = restore.tune(model, iter(volumes), run)
    assert found["tv"] in GRID
    assert restore.tv == 0.3  # nothing is changed in place
    x = torch.from_numpy(volumes[0].data).transpose(0, 1)
    moved = {tv: float((Restoration(steps=4, tv=tv).restore(model, x) - x).abs().mean()) for tv in GRID}
    assert moved[found["tv"]] == pytest.approx(min(moved.values()), rel=0.05)
    assert Restoration(tv=0.3).tune(model, iter(volumes), run) == {}
    assert Restoration(tv="auto").tune(model, iter([]), run) == {"tv": 0.3}


def test_the_batch_does_not_change_the_version(linear):
    model, x, _, _ = linear
    batch, restore = x.transpose(0, 1), Restoration(tv=0.1, steps=5)
    (found,) = restore(model, batch)
    alone = torch.cat([next(restore(model, each)).image for each in batch.split(1)])
    torch.testing.assert_close(found.image, alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"schedule": "adam"}, {"steps": 0}, {"length": 0.0}, {"tv": -1.0}, {"tv": "best"}],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        Restoration(**options)
