from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.anovaegan import AnoVAEGAN
from aberra.models.vae import VAE


def _model(**options):
    torch.manual_seed(0)
    return AnoVAEGAN(
        **({"channels": 1, "size": (32, 32), "network": {"width": 4}, "latent": 8} | options)
    ).eval()


def _loss(model, x, turn=""):
    return model.loss(Batch(x, torch.ones_like(x[:, :1]), torch.Generator().manual_seed(0), turn=turn))


def _reconstruction(model, x):
    """The sample of q(z|x) that the losses decode."""
    mean, log_variance = model.encode(x)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    return model.decode(mean + noise * torch.exp(0.5 * log_variance))


def test_the_vaes_turn_and_validation_are_the_vaes_loss():
    model = _model(kl_weight=0.3)
    x = torch.rand(3, 1, 32, 32)
    expected = VAE.loss(model, Batch(x, x, torch.Generator().manual_seed(0)))
    assert _loss(model, x) == _loss(model, x, "vae") == expected
    torch.testing.assert_close(expected["reconstruction"], (x - _reconstruction(model, x)).abs().sum() / 3)


def test_generator_and_critic_look_at_sampled_reconstructions():
    model = _model()
    x = torch.rand(3, 1, 32, 32)
    fake = model.critic(_reconstruction(model, x)).mean()
    torch.testing.assert_close(_loss(model, x, "generator")["loss"], -fake)
    torch.testing.assert_close(_loss(model, x, "critic")["distance"], model.critic(x).mean() - fake)


@pytest.mark.parametrize(("turn", "moved"), [("generator", {"decoder", "critic"}), ("critic", {"critic"})])
def test_gradients_stop_at_the_code_and_at_what_the_critic_is_shown(turn, moved):
    model = _model()
    _loss(model, torch.rand(3, 1, 32, 32), turn)["loss"].backward()
    assert {name.split(".")[0] for name, each in model.named_parameters() if each.grad is not None} == moved


def test_decoder_and_critic_have_layer_norm_and_the_encoder_batch_norm():
    model = _model()
    kinds = (nn.BatchNorm2d, nn.GroupNorm)
    found = {
        part: {type(each) for each in getattr(model, part).modules() if isinstance(each, kinds)}
        for part in ("encoder", "decoder", "critic")
    }
    assert found == {"encoder": {nn.BatchNorm2d}, "decoder": {nn.GroupNorm}, "critic": {nn.GroupNorm}}


def test_turns_and_players():
    model = _model(critic_steps=2)
    assert list(model.turns(0.5)) == ["vae", "generator", "critic", "critic"]
    players = {name: {id(each) for each in parameters} for name, parameters in model.players().items()}
    assert players["generator"] == {id(each) for each in model.decoder.parameters()}
    assert players["generator"] < players["vae"]
    assert players["vae"] | players["critic"] == {id(each) for each in model.parameters()}
    assert not players["vae"] & players["critic"]


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 16, 16))])
def test_shapes(dims, size):
    model = _model(channels=2, dims=dims, size=size)
    x = torch.rand(2, 2, *size)
    assert model.reconstruct(x).shape == x.shape
    assert [each.shape for each in model.sample_reconstructions(x, 2)] == [x.shape] * 2
    assert [each.shape for each in model.elbo_terms(x)] == [(2,), (2,)]
    assert model.features(x).shape[0] == 2
    for turn in model.players():
        assert _loss(model, x, turn)["loss"].ndim == 0


def test_parameters():
    """By hand: the VAE (layer norm has as many as batch norm), and a copy of its encoder with a
    dense layer on 8×8×128.
    """
    filters = [1, 32, 64, 128, 128]
    encoder = sum(25 * i * o + 3 * o for i, o in pairwise(filters))
    vae = sum(each.numel() for each in VAE(channels=1, size=(128, 128)).parameters())
    found = sum(each.numel() for each in AnoVAEGAN(channels=1, size=(128, 128)).parameters())
    assert found == vae + encoder + 8 * 8 * 128 + 1 == 2_434_098


def test_options():
    with pytest.raises(ConfigError, match="critic_steps=0"):
        _model(critic_steps=0)
