from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.nets.dropout import MCDropout, drawn


@pytest.fixture
def model():
    return nn.Sequential(MCDropout(0.3), MCDropout(0.3)).eval()


def test_in_use_it_is_the_identity_and_in_training_it_is_dropout(model):
    x = torch.rand(4, 100)
    assert torch.equal(model(x), x)
    model.train()
    torch.manual_seed(0)
    found = model[0](x)
    torch.manual_seed(0)
    assert torch.equal(found, nn.functional.dropout(x, 0.3))


def test_a_draw_is_the_same_for_every_image_of_every_batch(model):
    x = torch.ones(5, 3, 8, 8)
    with drawn(model, 2):
        five, two = model(x), model(x[:2])
    assert torch.equal(five[:1].expand_as(five), five)
    assert torch.equal(five[:2], two)


def test_draws_and_layers_have_masks_of_their_own(model):
    x = torch.ones(1, 1000)
    masks = []
    for draw in range(3):
        with drawn(model, draw):
            masks += [layer(x) > 0 for layer in model]
    agreement = [float((a == b).float().mean()) for i, a in enumerate(masks) for b in masks[:i]]
    assert max(agreement) < 0.7  # 0.7² + 0.3² = 0.58 where they are independent


def test_the_mean_over_draws_is_the_input(model):
    x = torch.rand(1, 500) + 1
    draws = []
    for draw in range(400):
        with drawn(model, draw):
            draws.append(model[0](x))
    mean = torch.stack(draws).mean(dim=0)
    # one standard error is x · sqrt(p / (1 − p) / 400) = 0.033 x
    assert float((mean / x - 1).abs().max()) < 0.033 * 5
    assert abs(float((mean / x).mean()) - 1) < 0.033 * 5 / 500**0.5


def test_dropout_is_off_again_afterwards_even_after_an_error(model):
    x = torch.rand(1, 100)
    with pytest.raises(ZeroDivisionError), drawn(model, 0):
        raise ZeroDivisionError
    assert torch.equal(model(x), x)
