from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.training import TrainingConfig
from aberra.training.adams import Adams


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


def _step(net, adam):
    generator = torch.Generator().manual_seed(1)
    loss = net(torch.randn(4, 1, 3, 3, generator=generator)).square().sum()
    adam.zero_grad()
    loss.backward()
    adam.step()


def test_decay_shrinks_weights_by_their_share_and_leaves_norms_and_biases_alone():
    """Of two steps from one point that differ in λ alone, only w ← w − ηλw differs (Loshchilov and
    Hutter 2019, Algorithm 2).
    """
    plain, decayed = _net(), _net()
    before = {name: parameter.detach().clone() for name, parameter in plain.named_parameters()}
    for net, decay in ((plain, 0.0), (decayed, 0.5)):
        _step(net, Adams(net, TrainingConfig(learning_rate=0.1, weight_decay=decay)).each[""])
    for name, parameter in decayed.named_parameters():
        without = dict(plain.named_parameters())[name]
        assert not torch.equal(without, before[name])
        expected = without - (0.1 * 0.5 * before[name] if parameter.ndim > 1 else 0)
        torch.testing.assert_close(parameter, expected)


def test_without_decay_it_is_adam_to_the_last_bit():
    ours, theirs = _net(), _net()
    config = TrainingConfig(learning_rate=0.01, amsgrad=True, beta1=0.5)
    adams = Adams(ours, config)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.5, 0.999), amsgrad=True)
    for _ in range(3):
        _step(ours, adams.each[""])
        _step(theirs, adam)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_moments_are_numbered_as_the_model_numbers_its_parameters(decay):
    net, config = _net(), TrainingConfig(weight_decay=decay)
    adams = Adams(net, config)
    _step(net, adams.each[""])
    state = adams.state_dict()
    for number, parameter in enumerate(net.parameters()):
        assert state["state"][number]["exp_avg"].shape == parameter.shape
    again = Adams(net, config)
    again.load_state_dict(state)
    for parameter in net.parameters():
        kept, loaded = (each.each[""].state[parameter] for each in (adams, again))
        assert all(torch.equal(kept[key], loaded[key]) for key in kept)
