from __future__ import annotations

import math

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import HasDensity
from aberra.errors import ConfigError
from aberra.models.glow import Glow
from aberra.scores.terms import term


def _model(**options):
    torch.manual_seed(0)
    return Glow(**{"channels": 1, "size": (8, 8), "levels": 2, "steps": 2, "width": 8} | options)


def _batch(x, seed=0):
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(seed))


def test_an_untrained_glow_turns_and_so_is_a_standard_normal_of_the_steps_middle():
    """Mixing matrices are rotations at first, couplings the identity."""
    model, x = _model(bins=64).eval(), torch.rand(3, 1, 8, 8)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.log_prob(x + 0.5 / 64).flatten(1).sum(dim=1) - 64 * math.log(64)
    torch.testing.assert_close(model.log_density(x), expected, rtol=1e-5, atol=1e-3)


def test_the_loss_is_bits_a_voxel_of_images_with_noise_within_a_step():
    model, x = _model().eval(), torch.rand(4, 1, 8, 8)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([term(model, (x + (noise - 0.5) / 256), "bits-per-dim")]).mean()
    torch.testing.assert_close(model.loss(_batch(x))["loss"], expected)
    assert not torch.equal(model.loss(_batch(x))["loss"], model.loss(_batch(x, 1))["loss"])


def test_it_learns_where_the_images_are():
    torch.manual_seed(1)
    model = _model().train()
    adam = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for step in range(80):
        x = 0.3 + 0.02 * torch.randn(64, 1, 8, 8)
        loss = model.loss(_batch(x, step))["loss"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    # 256 steps of white noise of σ = 0.02 take log2(0.02 · 256 · √(2πe)) bits
    least = math.log2(0.02 * 256 * math.sqrt(2 * math.pi * math.e))
    assert losses[-1] == pytest.approx(least, abs=0.3)
    strange = x[:4].clone()
    strange[..., 2:5, 2:5] += 0.2
    model.eval()
    assert (model.log_density(strange) < model.log_density(x[:4]) - 50).all()


def test_it_has_a_density_in_two_and_three_dimensions():
    model = _model(channels=2, dims=3, size=(8, 8, 8)).eval()
    assert isinstance(model, HasDensity)
    x = torch.rand(2, 2, 8, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.log_density(x).sum(), x)
    assert gradient.isfinite().all()


def test_parameters_do_not_depend_on_the_size():
    counts = {
        sum(each.numel() for each in Glow(channels=1, size=(edge, edge)).parameters()) for edge in (32, 128)
    }
    assert counts == {298_644}
    with pytest.raises(ConfigError, match="divisible by 8"):
        Glow(channels=1, size=(36, 36))
