from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.vqvae import VQVAE


def _model(**options):
    torch.manual_seed(0)
    return VQVAE(
        **({"channels": 1, "size": (32, 32), "network": {"width": 4}, "words": 16, "latent": 5} | options)
    ).eval()


def _generator():
    return torch.Generator().manual_seed(0)


def _conv(i, o, k):
    return i * o * k * k + o


def test_the_default_network_counted_by_hand():
    down = _conv(1, 32, 5) + _conv(32, 64, 5) + _conv(64, 128, 5) + _conv(128, 128, 5)
    up = _conv(128, 128, 5) + _conv(128, 64, 5) + _conv(64, 32, 5) + _conv(32, 32, 5) + _conv(32, 1, 1)
    norms = 2 * (32 + 64 + 128 + 128) + 2 * (128 + 128 + 64 + 32 + 32)
    expected = down + up + norms + _conv(128, 64, 1) + _conv(64, 128, 1)
    model = VQVAE(channels=1, size=(128, 128))
    assert sum(weight.numel() for weight in model.parameters()) == expected == 1_376_289
    assert model.codebook.words.numel() == 32_768
    assert model.encoder(torch.zeros(1, 1, 128, 128)).shape == (1, 64, 8, 8)


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_shapes_and_answers_of_single_images(dims, size):
    model = _model(channels=2, dims=dims, size=size)
    x = torch.rand(3, 2, *size)
    found = model.reconstruct(x)
    assert found.shape == x.shape
    torch.testing.assert_close(model.reconstruct(x[1:2]), found[1:2])


def test_loss_terms_and_the_gradient_of_the_commitment():
    model, x = _model(commitment=0.3), torch.rand(4, 1, 32, 32)
    losses = model.loss(Batch(x, x, _generator()))
    z = model.encoder(x)
    words = model.codebook(z).detach()
    torch.testing.assert_close(losses["reconstruction"], (x - model.decoder(words)).abs().sum() / 4)
    torch.testing.assert_close(losses["commitment"], ((z - words) ** 2).sum() / 4)
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + 0.3 * losses["commitment"])
    bias = model.encoder[1].bias
    (found,) = torch.autograd.grad(losses["commitment"], bias)
    torch.testing.assert_close(found, 2 * (z - words).sum(dim=(0, 2, 3)) / 4)


def test_words_move_in_training_only_and_every_step_draws_as_much():
    model, x = _model(), torch.rand(2, 1, 32, 32)
    before = model.codebook.words.clone()
    model.loss(Batch(x, x, _generator()))
    assert torch.equal(model.codebook.words, before)
    model.train()
    used = []
    for _ in range(2):
        generator = _generator()
        model.loss(Batch(x, x, generator))
        used.append(generator.get_state())
    assert not torch.equal(model.codebook.words, before)
    assert torch.equal(*used)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="words=1"):
        _model(words=1)
    with pytest.raises(ConfigError, match=r"decay=1\.0"):
        _model(decay=1.0)
