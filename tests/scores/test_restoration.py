from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.errors import ConfigError
from aberra.inference import Runner
from aberra.models.vae import VAE
from aberra.scores.restoration import GRID, Restoration, total_variation
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
        assert float((found - expected).abs().max()) < tolerance
    start, end = (
        Restoration(tv=0.0).objective(model, each, batch) for each in (batch, found.reshape(batch.shape))
    )
    assert (end < start).all()
    assert all(each.grad is None for each in model.parameters())


def test_few_decreasing_steps_agree_with_many_small_ones_on_an_absolute_error():
    torch.manual_seed(0)
    model = VAE(channels=1, size=(32, 32), width=4, latent=4).eval()
    x = torch.rand(2, 1, 32, 32)
    slow = Restoration(schedule="constant", steps=500, tv=0.1).restore(model, x) - x
    fast = Restoration(steps=50, tv=0.1).restore(model, x) - x
    assert float(torch.corrcoef(torch.stack([slow.flatten(), fast.flatten()]))[0, 1]) > 0.98
    assert float((slow - fast).abs().mean()) < 0.1 * float(slow.abs().mean())


def test_total_variation_holds_the_image_and_large_structures_move(linear):
    torch.manual_seed(0)
    model = VAE(channels=1, size=(32, 32), width=4, latent=4).eval()
    x = torch.rand(1, 1, 32, 32)
    free, held = ((Restoration(tv=tv).restore(model, x) - x).detach() for tv in (0.0, 1.0))
    assert float(total_variation(held)) < 0.5 * float(total_variation(free))


def test_lambda_comes_from_healthy_cases_where_it_is_auto(linear):
    torch.manual_seed(0)
    model = VAE(channels=1, size=(32, 32), width=4, latent=4).eval()
    run = Runner(dims=2, size=(32, 32))
    volumes = [
        Volume(data=np.random.default_rng(n).random((1, 6, 32, 32)), affine=np.eye(4)) for n in range(3)
    ]
    score = Restoration(steps=4)
    found = score.tune(model, iter(volumes), run)
    assert found["tv"] in GRID
    assert score.tv == found["tv"]
    x = torch.from_numpy(volumes[0].data).transpose(0, 1)
    moved = {tv: float((Restoration(steps=4, tv=tv).restore(model, x) - x).abs().mean()) for tv in GRID}
    assert moved[found["tv"]] == pytest.approx(min(moved.values()), rel=0.05)
    assert Restoration(tv=0.3).tune(model, iter(volumes), run) == {}
    assert Restoration().tune(model, iter([]), run) == {"tv": 0.1}


def test_map_and_batch(linear):
    model, x, mask, run = linear
    found = Restoration(tv=0.1, steps=5)(model, x, mask, run)
    torch.testing.assert_close(found.map, (x - found.reconstruction).abs()[0] * mask)
    alone = Restoration(tv=0.1, steps=5)(model, x, mask, Runner(dims=2, size=(6, 6), batch_size=1))
    torch.testing.assert_close(found.map, alone.map, atol=1e-6, rtol=1e-5)
    bright = Restoration(tv=0.1, steps=5, mode="positive")(model, x, mask, run)
    torch.testing.assert_close(bright.map, (x - found.reconstruction).clamp(min=0)[0] * mask)


@pytest.mark.parametrize(
    "options",
    [{"schedule": "adam"}, {"steps": 0}, {"length": 0.0}, {"tv": -1.0}, {"tv": "best"}, {"mode": "ssim"}],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        Restoration(**options)
