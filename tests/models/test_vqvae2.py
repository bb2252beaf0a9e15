from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.vqvae2 import VQVAE2

SMALL = {"channels": 1, "size": (32, 32), "width": 8, "inside": 4, "words": 16, "latent": 5}


def _model(**options):
    torch.manual_seed(0)
    return VQVAE2(**(SMALL | options)).eval()


def _batch(x, seed=0):
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(seed))


def _conv(before, after, kernel):
    return before * after * kernel**2 + after


def test_the_default_network_counted_by_hand():
    blocks = 2 * (_conv(128, 64, 3) + _conv(64, 128, 1))
    bottom = _conv(1, 64, 4) + _conv(64, 128, 4) + _conv(128, 128, 3) + blocks
    top = _conv(128, 64, 4) + _conv(64, 128, 3) + blocks
    heads = _conv(128, 64, 1) + _conv(128 + 64, 64, 1)
    top_decoder = _conv(64, 128, 3) + blocks + _conv(128, 64, 4)
    decoder = _conv(64, 64, 4) + _conv(128, 128, 3) + blocks + _conv(128, 64, 4) + _conv(64, 1, 4)
    model = VQVAE2(channels=1, size=(64, 64))
    expected = bottom + top + heads + top_decoder + decoder
    assert sum(weight.numel() for weight in model.parameters()) == expected == 1_712_705
    assert model.top_words.words.numel() + model.bottom_words.words.numel() == 65_536


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_shapes_and_answers_of_single_images(dims, size):
    model = _model(channels=2, dims=dims, size=size)
    x = torch.rand(3, 2, *size)
    found = model.reconstruct(x)
    assert found.shape == x.shape
    torch.testing.assert_close(model.reconstruct(x[1:2]), found[1:2])
    top, bottom = model.choose(x)
    assert top.shape == (3, *(edge // 8 for edge in size))
    assert bottom.shape == (3, *(edge // 4 for edge in size))


def test_an_image_is_what_its_words_say_and_nothing_else():
    model, x = _model(), torch.rand(2, 1, 32, 32)
    top, bottom = model.choose(x)
    words = [
        book.words[chosen].movedim(-1, 1)
        for book, chosen in ((model.top_words, top), (model.bottom_words, bottom))
    ]
    told = model.decoder(torch.cat([model.enlarge(words[0]), words[1]], dim=1))
    torch.testing.assert_close(model.reconstruct(x), told)


def test_the_bottom_map_is_asked_for_after_the_top_ones_words():
    model, x = _model(), torch.rand(2, 1, 32, 32)
    before = model._codes(x)
    model.top_words.words += 1.0
    after = model._codes(x)
    assert torch.equal(before.top, after.top)
    assert not torch.allclose(before.bottom, after.bottom)


def test_loss_terms():
    model, x = _model(commitment=0.3), torch.rand(4, 1, 32, 32)
    losses, codes = model.loss(_batch(x)), model._codes(x)
    torch.testing.assert_close(losses["reconstruction"], ((x - model.reconstruct(x)) ** 2).sum() / 4)
    pull = ((codes.top - codes.top_words) ** 2).sum() / 4 + (
        (codes.bottom - codes.bottom_words) ** 2
    ).sum() / 4
    torch.testing.assert_close(losses["commitment"], pull)
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + 0.3 * pull)
    losses["loss"].backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_words_move_in_training_only_and_every_step_draws_as_much():
    model, x = _model(), torch.rand(2, 1, 32, 32)
    books = model.top_words, model.bottom_words
    before = [book.words.clone() for book in books]
    model.loss(_batch(x))
    assert all(torch.equal(book.words, kept) for book, kept in zip(books, before, strict=True))
    model.train()
    used = []
    for _ in range(2):
        batch = _batch(x)
        model.loss(batch)
        used.append(batch.generator.get_state())
    assert not any(torch.equal(book.words, kept) for book, kept in zip(books, before, strict=True))
    assert torch.equal(*used)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"words": 1}, "words=1"), ({"decay": 1.0}, r"decay=1\.0"), ({"size": (32, 36)}, "divisible by 8")],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        _model(**options)
