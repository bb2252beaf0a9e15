from __future__ import annotations

import torch

from aberra.nets.codebook import Codebook, commitment


def _codebook(count=16, length=5, decay=0.99):
    torch.manual_seed(0)
    return Codebook(count, length, decay)


def _generator():
    return torch.Generator().manual_seed(0)


def test_every_vector_becomes_the_nearest_word():
    codebook, z = _codebook(), torch.randn(2, 5, 4, 4)
    for image, grid in zip(z, codebook(z), strict=True):
        for vector, word in zip(image.flatten(1).T, grid.flatten(1).T, strict=True):
            distances = ((codebook.words - vector) ** 2).sum(dim=1)
            assert torch.equal(word, codebook.words[distances.argmin()])


def test_the_gradient_passes_straight_through():
    z = torch.randn(2, 5, 4, 4, requires_grad=True)
    direction = torch.randn(2, 5, 4, 4)
    (_codebook()(z) * direction).sum().backward()
    assert torch.equal(z.grad, direction)


def test_the_commitment_pulls_vectors_to_words_alone():
    z, words = torch.randn(2, 5, 4, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    value = commitment(z, words)
    torch.testing.assert_close(value, ((z - words) ** 2).sum() / 2)
    value.backward()
    torch.testing.assert_close(z.grad, (z - words).detach())
    assert words.grad is None


def test_words_are_the_moving_average_of_their_vectors():
    codebook = _codebook(count=2, length=1, decay=0.75)
    codebook.counts.fill_(2.0)
    codebook.sums.copy_(torch.tensor([[0.0], [20.0]]))  # words at 0 and 10
    z = torch.tensor([1.0, 3.0, 9.0, 11.0, 12.0, 13.0]).reshape(1, 1, 6)
    codebook.move(z, _generator())
    counts = torch.tensor([0.75 * 2 + 0.25 * 2, 0.75 * 2 + 0.25 * 4])
    sums = torch.tensor([0.25 * 4, 0.75 * 20 + 0.25 * 45])
    torch.testing.assert_close(codebook.counts, counts)
    torch.testing.assert_close(codebook.words[:, 0], sums / counts)


def test_unused_words_are_put_on_vectors_of_the_batch_repeatably():
    z = torch.randn(2, 5, 4, 4)
    first, second = _codebook(), _codebook()
    first.move(z, _generator())
    second.move(z, _generator())
    assert torch.equal(first.words, second.words)
    assert (first.counts > 0.9).all()
    vectors = z.movedim(1, -1).flatten(0, -2)
    assert torch.cdist(first.words, vectors).min(dim=1).values.max() < 0.5  # moved on by 1 % at most
    kept = first.words.clone()
    far = first.words[:1].reshape(1, 5, 1, 1).expand(2, 5, 4, 4)
    for _ in range(100):  # 0.99¹⁰⁰ = 0.37: nothing is dead yet, so the unused stay
        first.move(far, _generator())
    torch.testing.assert_close(first.words, kept)
    for _ in range(150):
        first.move(far, _generator())
    torch.testing.assert_close(first.words, kept[:1].expand_as(kept))
