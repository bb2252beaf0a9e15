from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.vqvae import VQVAE


def _model(**options):
    torch.manual_seed(0)
    return VQVAE(**({"channels": 1, "size": (32, 32), "width": 4, "words": 16, "latent": 5} | options)).eval()


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
    assert model.codebook.numel() == 32_768
    assert model.encoder(torch.zeros(1, 1, 128, 128)).shape == (1, 64, 8, 8)


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_shapes_and_answers_of_single_images(dims, size):
    model = _model(channels=2, dims=dims, size=size)
    x = torch.rand(3, 2, *size)
    found = model.reconstruct(x)
    assert found.shape == x.shape
    torch.testing.assert_close(model.reconstruct(x[1:2]), found[1:2])


def test_every_vector_becomes_the_nearest_word():
    model, z = _model(), torch.randn(2, 5, 4, 4)
    quantised = model.quantise(z)
    for image, grid in zip(z, quantised, strict=True):
        for vector, word in zip(image.flatten(1).T, grid.flatten(1).T, strict=True):
            distances = ((model.codebook - vector) ** 2).sum(dim=1)
            assert torch.equal(word, model.codebook[distances.argmin()])


def test_the_gradient_passes_straight_through():
    model = _model()
    z = torch.randn(2, 5, 4, 4, requires_grad=True)
    direction = torch.randn(2, 5, 4, 4)
    (model.quantise(z) * direction).sum().backward()
    assert torch.equal(z.grad, direction)


def test_loss_terms_and_the_gradient_of_the_commitment():
    model, x = _model(commitment=0.3), torch.rand(4, 1, 32, 32)
    losses = model.loss(Batch(x, x, _generator()))
    z = model.encoder(x)
    words = model.quantise(z).detach()
    torch.testing.assert_close(losses["reconstruction"], (x - model.decoder(words)).abs().sum() / 4)
    torch.testing.assert_close(losses["commitment"], ((z - words) ** 2).sum() / 4)
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + 0.3 * losses["commitment"])
    bias = model.encoder[-1].bias
    (found,) = torch.autograd.grad(losses["commitment"], bias)
    torch.testing.assert_close(found, 2 * (z - words).sum(dim=(0, 2, 3)) / 4)


def test_words_are_the_moving_average_of_their_vectors():
    model = _model(words=2, latent=1, decay=0.75)
    model.counts.fill_(2.0)
    model.sums.copy_(torch.tensor([[0.0], [20.0]]))  # words at 0 and 10
    z = torch.tensor([1.0, 3.0, 9.0, 11.0, 12.0, 13.0]).reshape(1, 1, 6)
    model._move_words(z, _generator())
    counts = torch.tensor([0.75 * 2 + 0.25 * 2, 0.75 * 2 + 0.25 * 4])
    sums = torch.tensor([0.25 * 4, 0.75 * 20 + 0.25 * 45])
    torch.testing.assert_close(model.counts, counts)
    torch.testing.assert_close(model.codebook[:, 0], sums / counts)


def test_unused_words_are_put_on_vectors_of_the_batch_repeatably():
    z = torch.randn(2, 5, 4, 4)
    first, second = _model(decay=0.99), _model(decay=0.99)
    first._move_words(z, _generator())
    second._move_words(z, _generator())
    assert torch.equal(first.codebook, second.codebook)
    assert (first.counts > 0.9).all()
    vectors = z.movedim(1, -1).flatten(0, -2)
    assert torch.cdist(first.codebook, vectors).min(dim=1).values.max() < 0.5  # moved on by 1 % at most
    kept = first.codebook.clone()
    far = first.codebook[:1].reshape(1, 5, 1, 1).expand(2, 5, 4, 4)
    for _ in range(100):  # 0.99¹⁰⁰ = 0.37: nothing is dead yet, so the unused stay
        first._move_words(far, _generator())
    torch.testing.assert_close(first.codebook, kept)
    for _ in range(150):
        first._move_words(far, _generator())
    torch.testing.assert_close(first.codebook, kept[:1].expand_as(kept))


def test_words_move_in_training_only_and_every_step_draws_as_much():
    model, x = _model(), torch.rand(2, 1, 32, 32)
    before = model.codebook.clone()
    model.loss(Batch(x, x, _generator()))
    assert torch.equal(model.codebook, before)
    model.train()
    used = []
    for _ in range(2):
        generator = _generator()
        model.loss(Batch(x, x, generator))
        used.append(generator.get_state())
    assert not torch.equal(model.codebook, before)
    assert torch.equal(*used)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="words=1"):
        _model(words=1)
    with pytest.raises(ConfigError, match=r"decay=1\.0"):
        _model(decay=1.0)
