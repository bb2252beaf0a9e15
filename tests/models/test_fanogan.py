from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.fanogan import FAnoGAN


def _model(**options):
    torch.manual_seed(0)
    return FAnoGAN(
        **({"channels": 1, "size": (32, 32), "network": {"width": 4}, "latent": 8} | options)
    ).eval()


def _loss(model, x, turn=""):
    return model.loss(Batch(x, torch.ones_like(x[:, :1]), torch.Generator().manual_seed(0), turn=turn))


def test_generator_and_critic_look_at_draws_of_the_prior():
    model = _model()
    x = torch.rand(3, 1, 32, 32)
    fake = model.critic(
        model.generate(torch.randn((3, 8), generator=torch.Generator().manual_seed(0)))
    ).mean()
    torch.testing.assert_close(_loss(model, x, "generator")["loss"], -fake)
    found = _loss(model, x, "critic")
    torch.testing.assert_close(found["distance"], model.critic(x).mean() - fake)
    found["loss"].backward()
    assert all(each.grad is None for each in model.generator.parameters())


@pytest.mark.parametrize(("encoder_loss", "weight"), [("izi", 0.0), ("izif", 2.5)])
def test_the_encoders_loss_is_the_papers(encoder_loss, weight):
    model = _model(encoder_loss=encoder_loss, kappa=2.5 if encoder_loss == "izif" else None)
    x = torch.rand(3, 1, 32, 32)
    restored = model.reconstruct(x)
    count = model.features(x).shape[1]
    pixels = ((x - restored) ** 2).sum() / 3 / 32**2
    features = ((model.features(x) - model.features(restored)) ** 2).sum() / 3 / count
    torch.testing.assert_close(_loss(model, x, "encoder")["loss"], pixels + weight * features)
    assert features > 0


def test_validation_sees_the_absolute_error():
    model = _model()
    x = torch.rand(3, 1, 32, 32)
    expected = (x - model.reconstruct(x)).abs().sum() / 3
    torch.testing.assert_close(_loss(model, x)["reconstruction"], expected)


def test_two_stages():
    model = _model(gan_share=0.25, critic_steps=2)
    assert list(model.turns(0.0)) == list(model.turns(0.2499)) == ["critic", "critic", "generator"]
    assert list(model.turns(0.25)) == list(model.turns(0.999)) == ["encoder"]
    counts = [sum(each.numel() for each in parameters) for parameters in model.players().values()]
    assert sum(counts) == sum(each.numel() for each in model.parameters())


def test_code_and_output_options():
    x = torch.rand(3, 1, 32, 32)
    bounded, free = _model(), _model(code="linear")
    free.load_state_dict(bounded.state_dict())
    torch.testing.assert_close(bounded.code(x), torch.tanh(free.code(x)))
    linear, sigmoid = _model(), _model(output="sigmoid")
    z = torch.randn(3, 8)
    torch.testing.assert_close(sigmoid.generate(z), torch.sigmoid(linear.generate(z)))


@pytest.mark.parametrize("network", ["unified", "residual"])
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 16, 16))])
def test_shapes(network, dims, size):
    model = _model(channels=2, dims=dims, size=size, network={"name": network, "width": 4})
    x = torch.rand(2, 2, *size)
    assert model.reconstruct(x).shape == x.shape
    assert model.generate(torch.randn(5, *model.latent_shape())).shape == (5, 2, *size)
    assert model.features(x).shape[0] == 2
    for turn in model.players():
        assert _loss(model, x, turn)["loss"].ndim == 0


def test_parameters():
    """By hand: encoder and decoder of the study (Fig. 4) with the dense bottleneck, and a copy of
    the encoder as critic.
    """
    down, up = [1, 32, 64, 128, 128], [128, 128, 64, 32, 32]
    # convolution 5 with offsets, a norm of two numbers a filter
    convolutions = sum(25 * i * o + 3 * o for i, o in pairwise(down))
    encoder = convolutions + (128 * 16 + 16) + (1024 * 128 + 128)
    generator = (128 * 1024 + 1024) + (16 * 128 + 128)
    generator += 2 * 128 + sum(25 * i * o + 3 * o for i, o in pairwise(up)) + 33
    critic = convolutions + 8 * 8 * 128 + 1
    model = FAnoGAN(channels=1, size=(128, 128))
    found = {name: sum(each.numel() for each in parameters) for name, parameters in model.players().items()}
    assert found == {"critic": critic, "generator": generator, "encoder": encoder}
    assert sum(found.values()) == 2_302_898
    assert model.latent_shape() == (128,)


def test_the_original_networks_parameters():
    """By hand: blocks of two convolutions 3 with layer norm and a shortcut 1; 64 to 512 filters on
    16×16, K = 64.
    """
    widths = [64, 128, 256, 512]

    def block(i, o):
        return 2 * i + (9 * i * o + o) + 2 * o + (9 * o * o + o) + (i * o + o)

    flat = 512 * 16 * 16
    down = (9 * 64 + 64) + sum(block(i, o) for i, o in pairwise(widths))
    up = sum(block(o, i) for i, o in pairwise(widths)) + 2 * 64 + (9 * 64 + 1)
    expected = (down + flat * 64 + 64) + (64 * flat + flat + up) + (down + flat + 1)
    model = FAnoGAN(channels=1, size=(128, 128), network="residual")
    assert sum(each.numel() for each in model.parameters()) == expected == 29_184_450


def test_options():
    with pytest.raises(ConfigError, match="Did you mean 'izif'"):
        _model(encoder_loss="izi_f")
    with pytest.raises(ConfigError, match=r"model\.code"):
        _model(code="relu")
    with pytest.raises(ConfigError, match=r"model\.output"):
        _model(output="relu")
    with pytest.raises(ConfigError, match=r"gan_share=1\.0"):
        _model(gan_share=1.0)
    with pytest.raises(ConfigError, match=r"model\.kappa=1: does nothing with encoder_loss='izi'"):
        _model(encoder_loss="izi", kappa=1.0)
    with pytest.raises(ConfigError, match="critic_steps=0"):
        _model(critic_steps=0)
