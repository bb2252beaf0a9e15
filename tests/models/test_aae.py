from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.aae import AAE


def _model(**options):
    torch.manual_seed(0)
    return AAE(**({"channels": 1, "size": (32, 32), "network": {"width": 4}, "latent": 8} | options)).eval()


def _loss(model, x, turn=""):
    return model.loss(Batch(x, torch.ones_like(x[:, :1]), torch.Generator().manual_seed(0), turn=turn))


@pytest.mark.parametrize(("reconstruction", "power"), [("l1", 1), ("l2", 2)])
def test_the_autoencoders_loss_is_its_three_terms(reconstruction, power):
    model = _model(rho=0.7, adversarial_weight=3.0, reconstruction=reconstruction)
    x = torch.rand(3, 1, 32, 32)
    z, restored = model.code(x), model.reconstruct(x)
    error = ((x - restored).abs() ** power).sum() / 3
    constraint = ((z - model.code(restored)) ** 2).sum() / 3
    found = _loss(model, x, "autoencoder")
    torch.testing.assert_close(found["reconstruction"], error)
    torch.testing.assert_close(found["constraint"], constraint)
    torch.testing.assert_close(found["loss"], error - 3 * model.critic(z).mean() + 0.7 * constraint)
    assert _loss(model, x) == found
    assert "constraint" not in _loss(_model(), x)


def test_the_constraint_reaches_the_encoder_through_both_codes():
    """Its gradient is a finite difference of both, not of one with the other held."""
    model = _model(rho=1.0).double()
    x = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    weight = model.encoder[1].weight
    _loss(model, x)["constraint"].backward()
    direction = torch.randn_like(weight)
    found, step, values = float((weight.grad * direction).sum()), 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            weight += sign * step * direction
            values.append(float(_loss(model, x)["constraint"]))
    assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4)


def test_the_critic_compares_a_normal_prior_with_the_codes():
    model = _model()
    x = torch.rand(4, 1, 32, 32)
    prior = torch.randn((4, 8), generator=torch.Generator().manual_seed(0))
    found = _loss(model, x, "critic")
    expected = model.critic(prior).mean() - model.critic(model.code(x)).mean()
    torch.testing.assert_close(found["distance"], expected)
    found["loss"].backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert all(
        weight.grad is not None for name, weight in model.critic.named_parameters() if name != "4.bias"
    )


def test_turns_and_players():
    model = _model(critic_steps=3)
    assert list(model.turns(0.5)) == ["critic"] * 3 + ["autoencoder"]
    counts = [sum(each.numel() for each in parameters) for parameters in model.players().values()]
    assert sum(counts) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("network", ["unified", "residual"])
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 16, 16))])
def test_shapes(network, dims, size):
    model = _model(channels=2, dims=dims, size=size, network={"name": network, "width": 4}, rho=1.0)
    x = torch.rand(2, 2, *size)
    assert model.reconstruct(x).shape == x.shape
    assert model.generate(torch.randn(5, *model.latent_shape())).shape == (5, 2, *size)
    for turn in ("", "critic", "autoencoder"):
        assert _loss(model, x, turn)["loss"].ndim == 0


def test_parameters():
    """By hand: the dense autoencoder (Fig. 4 of the study), and the critic of codes."""
    down, up = [1, 32, 64, 128, 128], [128, 128, 64, 32, 32]
    # convolution 5 with offsets, batch norm of two numbers a filter
    encoder = sum(25 * i * o + 3 * o for i, o in pairwise(down))
    decoder = 2 * 128 + sum(25 * i * o + 3 * o for i, o in pairwise(up)) + 33
    bottleneck = (128 * 16 + 16) + (1024 * 128 + 128) + (128 * 1024 + 1024) + (16 * 128 + 128)
    critic = 129 * 100 + 101 * 50 + 51
    found = sum(each.numel() for each in AAE(channels=1, size=(128, 128)).parameters())
    assert found == encoder + decoder + bottleneck + critic == 1_645_250


def test_the_original_networks_parameters():
    """By hand: blocks of two convolutions 3 with layer norm and a shortcut 1; 64 to 512 filters on
    16×16, K = 128.
    """
    widths = [64, 128, 256, 512]

    def block(i, o):
        return 2 * i + (9 * i * o + o) + 2 * o + (9 * o * o + o) + (i * o + o)

    flat = 512 * 16 * 16
    encoder = (9 * 64 + 64) + sum(block(i, o) for i, o in pairwise(widths))
    decoder = sum(block(o, i) for i, o in pairwise(widths)) + 2 * 64 + (9 * 64 + 1)
    dense = (flat * 128 + 128) + (128 * flat + flat)
    critic = 129 * 100 + 101 * 50 + 51
    model = AAE(channels=1, size=(128, 128), network="residual")
    assert (
        sum(each.numel() for each in model.parameters()) == encoder + decoder + dense + critic == 41_025_746
    )


def test_options():
    with pytest.raises(ConfigError, match="Did you mean 'unified'"):
        _model(network="unifed")
    with pytest.raises(ConfigError, match=r"model\.reconstruction"):
        _model(reconstruction="l3")
    with pytest.raises(ConfigError, match="critic_steps=0"):
        _model(critic_steps=0)
