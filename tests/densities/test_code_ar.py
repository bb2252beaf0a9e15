from __future__ import annotations

from math import log

import pytest
import torch

from aberra.densities.code_ar import CodeAR
from aberra.errors import ConfigError, NotFittedError, TrainingError

WORDS = 6


def _density(size=(4, 5), **options):
    torch.manual_seed(0)
    return CodeAR(
        **({"features": WORDS, "size": size, "width": 8, "blocks": 1, "epochs": 2} | options)
    ).eval()


def _stirred(density):
    """Weights with which every place says something of its own."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in density.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    density.fitted.fill_(True)  # noqa: FBT003
    return density


def _stripes(count, size=(4, 5)):
    """Maps whose words count up along each row, from a word that differs from map to map."""
    first = torch.arange(count) % WORDS
    return (first[:, None, None] + torch.arange(size[1]) + torch.zeros(size[0], 1, dtype=torch.long)) % WORDS


@pytest.mark.parametrize("size", [(4, 5), (3, 2, 3)])
def test_a_word_depends_on_those_before_it_and_on_all_of_them(size):
    density = _stirred(_density(size))
    words = torch.randint(0, WORDS, (1, *size), generator=torch.Generator().manual_seed(2))
    logits = density.logits(words).flatten(2)
    count = words.numel()
    for place in range(count):
        other = words.flatten(1).clone()
        other[0, place] = (other[0, place] + 1) % WORDS
        moved = (density.logits(other.view(words.shape)).flatten(2) - logits).abs().amax(dim=(0, 1))
        assert not moved[: place + 1].any()
        assert (moved[place + 1 :] > 0).all()  # no blind spot: attention sees what convolutions do not


def test_likelihoods_are_of_all_words():
    density = _stirred(_density())
    words = _stripes(3)
    p = density.logits(words).softmax(dim=1)
    torch.testing.assert_close(density.surprise(words), -p.gather(1, words[:, None])[:, 0].log())


def test_where_all_words_are_alike_each_costs_log_k_and_none_is_drawn_anew():
    density = _density()
    density.fitted.fill_(True)  # noqa: FBT003
    words = _stripes(4)
    torch.testing.assert_close(density.surprise(words), torch.full(words.shape, log(WORDS)))
    for drawn in density.resampled(words, log(WORDS) + 1e-4, 3):
        assert torch.equal(drawn, words)
    assert not any(torch.equal(drawn, words) for drawn in density.resampled(words, log(WORDS) - 1e-4, 3))


def test_it_learns_what_follows_what_and_repairs_a_word_that_does_not():
    words = _stripes(60)
    density = _density(width=16, epochs=25, learning_rate=1e-2)
    chosen = density.fit(words, words[:6], seed=0)
    assert chosen["validation"] < 0.2 < log(WORDS)
    wrong = words[:6].clone()
    wrong[:, 2, 3] = (wrong[:, 2, 3] + 3) % WORDS
    assert (density.surprise(wrong)[:, 2, 3] > 2).all()
    for drawn in density.resampled(wrong, 2.0, 2):
        assert torch.equal(drawn, words[:6])


def test_draws_are_numbered_and_do_not_depend_on_the_batch():
    density, words = _stirred(_density()), _stripes(5)
    first, second = density.resampled(words, 1.0, 2)
    assert not torch.equal(first, second)
    again = [
        torch.cat(parts)
        for parts in zip(*(density.resampled(one[None], 1.0, 2) for one in words), strict=True)
    ]
    assert torch.equal(again[0], first)
    assert torch.equal(again[1], second)


def test_a_drawn_word_follows_its_probability():
    """The first place has no word before it; the same uniform number is used for all maps."""
    density = _stirred(_density((1, 2)))
    words = torch.zeros(1, 1, 2, dtype=torch.long)
    p = density.logits(words).softmax(dim=1)[0, :, 0, 0]
    drawn = torch.stack([each[0, 0, 0] for each in density.resampled(words, 0.0, 1500)])
    found = torch.bincount(drawn, minlength=WORDS) / len(drawn)
    torch.testing.assert_close(found, p, atol=0.05, rtol=0)


def test_the_same_seed_learns_the_same_and_the_best_epoch_is_kept():
    words = _stripes(12)
    one, other = _density(), _density()
    assert one.fit(words, words[:2], seed=3) == other.fit(words, words[:2], seed=3)
    torch.testing.assert_close(one.surprise(words), other.surprise(words), atol=0, rtol=0)
    assert not any(weight.requires_grad for weight in one.parameters())


def test_what_cannot_be_is_refused():
    words = _stripes(2)
    with pytest.raises(NotFittedError, match="code-ar: not fitted"):
        _density().surprise(words)
    with pytest.raises(NotFittedError, match="code-ar: not fitted"):
        next(_density().resampled(words, 1.0, 1))
    with pytest.raises(TrainingError, match="1 sample"):
        _density().fit(words[:1], words, seed=0)
    with pytest.raises(ConfigError, match="blocks=0"):
        _density(blocks=0)


def test_the_parameters_counted_by_hand():
    k, w, places = 512, 64, 64
    causal, narrow = w * 2 * w * 9 + 2 * w, w * w + w
    expected = k * w + w * places + (w * w * 9 + w) + 5 * (causal + narrow)
    expected += (w * 3 * w + 3 * w) + narrow + (w * k + k)
    assert sum(each.numel() for each in CodeAR(features=k, size=(8, 8)).parameters()) == expected
