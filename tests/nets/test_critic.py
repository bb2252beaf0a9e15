from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.nets.critic import Critic, code_critic, critic_loss, gradient_penalty
from aberra.nets.networks import Residual, Unified, Zimmerer2018


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _linear(weight):
    return lambda x: (x * weight).flatten(1).sum(dim=1)


@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 4, 4, 4), (12,)])
def test_the_penalty_of_a_linear_critic_has_a_closed_form(shape):
    """D(x) = ⟨w, x⟩ has the slope w everywhere, so the penalty is (‖w‖ − 1)², the norm over all of
    an image.
    """
    weight = torch.randn(shape, dtype=torch.float64)
    real, fake = (torch.randn(5, *shape, dtype=torch.float64) for _ in range(2))
    expected = (weight.norm() - 1) ** 2
    torch.testing.assert_close(gradient_penalty(_linear(weight), real, fake, _generator()), expected)


def test_the_penaltys_gradient_agrees_with_finite_differences():
    weight = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    real, fake = (torch.randn(3, 1, 3, 4, dtype=torch.float64) for _ in range(2))

    def penalty(w):
        return gradient_penalty(lambda x: torch.tanh(_linear(w)(x)), real, fake, _generator())

    assert torch.autograd.gradcheck(penalty, weight)


def test_the_penaltys_gradient_agrees_with_finite_differences_through_layer_norm():
    """The second derivative of convolution, layer norm and leaky ReLU, along a random direction of
    all weights.
    """
    torch.manual_seed(0)
    critic = Critic(Unified(channels=1, dims=2, size=(8, 8), width=2)).double()
    real, fake = (torch.randn(3, 1, 8, 8, dtype=torch.float64) for _ in range(2))
    weights = [weight.detach().clone() for weight in critic.parameters()]
    directions = [torch.randn_like(weight) for weight in weights]

    def penalty(step):
        with torch.no_grad():
            for weight, start, direction in zip(critic.parameters(), weights, directions, strict=True):
                weight.copy_(start + step * direction)
        return gradient_penalty(critic, real, fake, _generator())

    penalty(0.0).backward()
    # the last offset moves no slope, so it has no gradient
    found = sum(
        float((weight.grad * direction).sum())
        for weight, direction in zip(critic.parameters(), directions, strict=True)
        if weight.grad is not None
    )
    step = 1e-6
    expected = float((penalty(step) - penalty(-step)).detach()) / (2 * step)
    assert found == pytest.approx(expected, rel=1e-4)
    assert abs(expected) > 1e-3


def test_the_penalty_looks_between_real_and_fake_one_place_an_image():
    real, fake = torch.zeros(64, 1, 4, 4), torch.ones(64, 1, 4, 4)
    seen = []

    def critic(x):
        seen.append(x.detach())
        return (x**2).flatten(1).sum(dim=1)

    gradient_penalty(critic, real, fake, _generator())
    places = seen[0].flatten(1)
    assert torch.equal(places, places[:, :1].expand_as(places))
    assert places.min() >= 0
    assert places.max() <= 1
    assert places[:, 0].std() > 0.2


def test_critic_loss_is_wassersteins():
    weight = torch.randn(1, 4, 4)
    real, fake = torch.randn(6, 1, 4, 4), torch.randn(6, 1, 4, 4)
    critic = _linear(weight)
    found = critic_loss(critic, real, fake, _generator(), penalty=10.0)
    torch.testing.assert_close(found["distance"], critic(real).mean() - critic(fake).mean())
    torch.testing.assert_close(found["loss"], 10 * (weight.norm() - 1) ** 2 - found["distance"])


@pytest.mark.parametrize("network", [Unified, Residual, Zimmerer2018])
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 16, 32))])
def test_the_critic_judges_each_image_by_itself(network, dims, size):
    critic = Critic(network(channels=2, dims=dims, size=size, width=4))
    x = torch.rand(3, 2, *size)
    assert critic(x).shape == (3,)
    features = critic.features(x)
    assert features.shape[0] == 3
    torch.testing.assert_close(critic(x), critic.head(features)[:, 0])
    torch.testing.assert_close(critic(x)[:1], critic(x[:1]))  # in training mode


def test_parameters():
    """By hand: the encoder's convolutions 5, layer norm of two numbers a filter, and a dense layer
    on 8×8×128 features.
    """
    filters = [1, 32, 64, 128, 128]
    encoder = sum(25 * before * after + 3 * after for before, after in pairwise(filters))
    critic = Critic(Unified(channels=1, dims=2, size=(128, 128)))
    assert sum(weight.numel() for weight in critic.parameters()) == encoder + 8 * 8 * 128 + 1
    code = code_critic(128)
    assert sum(weight.numel() for weight in code.parameters()) == 129 * 100 + 101 * 50 + 51
    assert code(torch.randn(4, 128)).shape == (4,)
