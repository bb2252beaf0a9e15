from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.batch import Batch
from aberra.errors import ConfigError, TrainingError
from aberra.models.steganomaly import SteGANomaly
from aberra.nets.low_pass import LowPass
from aberra.restore.cycle import Cycle

SMALL = {"channels": 1, "size": (16, 24), "width": 2, "blocks": 1, "critic_width": 2, "critic_layers": 2}


def _model(**options):
    torch.manual_seed(0)
    return SteGANomaly(**(SMALL | options)).eval()


def _copies(**options):
    """A model whose generators change nothing."""
    model = _model(**options)
    model.to_simulated = model.to_real = nn.Identity()
    return model


def _images(seed):
    return torch.rand(3, 1, 16, 24, generator=torch.Generator().manual_seed(seed))


X, Y = _images(1), _images(2)


def _loss(model, turn, simulated=Y):
    generator = torch.Generator().manual_seed(0)
    return model.loss(Batch(X, torch.ones_like(X), generator, turn=turn, simulated=simulated))


def test_the_cycle_of_generators_that_copy_costs_nothing_without_filter():
    losses = _loss(_copies(sigma=0.0), "generators")
    assert losses["reconstruction"] == losses["simulated"] == losses["identity"] == 0
    assert losses["loss"] == losses["adversarial"] > 0


def test_what_comes_back_through_copies_is_what_the_filter_lets_through():
    model = _copies(sigma=1.5)
    blurred = LowPass((16, 24), 1.5)(X)
    torch.testing.assert_close(model.reconstruct(X), blurred)
    torch.testing.assert_close(_loss(model, "generators")["reconstruction"], (blurred - X).abs().mean())
    assert _loss(model, "generators")["simulated"] == 0  # the other way round nothing is taken out
    mean = X.mean(dim=(2, 3), keepdim=True).expand_as(X)
    torch.testing.assert_close(_copies(sigma=1000.0).reconstruct(X), mean)


def test_a_pattern_too_fine_for_the_filter_is_hidden_in_vain():
    """A lesion written into a checkerboard: F finds it there only where nothing is filtered."""

    class Hides(nn.Module):
        def forward(self, x):
            board = torch.ones(16, 24)
            board[::2, ::2] = board[1::2, 1::2] = -1
            return x * board

    model = _copies(sigma=3.0)
    model.to_simulated = model.to_real = Hides()
    smooth = LowPass((16, 24), 3.0)(X)
    torch.testing.assert_close(model.cycle(smooth, inhibited=False), smooth)
    assert model.cycle(smooth).abs().max() < 0.02 * smooth.max()


def test_the_generators_loss_is_the_papers():
    model = _model(cycle_weight=7.0, identity_weight=0.25)
    g, f, s = model.to_simulated, model.to_real, model.low_pass
    adversarial = ((model.simulated_critic(g(X)) - 1) ** 2).mean() + (
        (model.real_critic(f(Y)) - 1) ** 2
    ).mean()
    cycle = (f(s(g(X))) - X).abs().mean() + (g(f(Y)) - Y).abs().mean()
    identity = (g(Y) - Y).abs().mean() + (f(X) - X).abs().mean()
    found = _loss(model, "generators")
    torch.testing.assert_close(found["loss"], adversarial + 7 * (cycle + 0.25 * identity))
    assert "identity" not in _loss(_model(identity_weight=0.0), "generators")


def test_critics_learn_what_is_real_and_leave_the_generators_alone():
    model = _model()
    found = _loss(model, "critics")
    fakes = {"simulated": (model.simulated_critic, Y, model.to_simulated(X))}
    fakes["real"] = (model.real_critic, X, model.to_real(Y))
    for name, (critic, real, fake) in fakes.items():
        expected = (((critic(real) - 1) ** 2).mean() + (critic(fake) ** 2).mean()) / 2
        torch.testing.assert_close(found[name], expected)
    found["loss"].backward()
    moved = {name for name, each in model.named_parameters() if each.grad is not None}
    assert {name.split(".")[0] for name in moved} == {"simulated_critic", "real_critic"}


def test_validation_sees_the_cycle_and_needs_nothing_simulated():
    model = _model()
    found = _loss(model, "", simulated=None)
    torch.testing.assert_close(found["reconstruction"], (model.reconstruct(X) - X).abs().mean())
    with pytest.raises(TrainingError, match="simulated samples"):
        _loss(model, "generators", simulated=None)


def test_two_players_have_all_parameters_between_them():
    model = _model()
    assert model.turns(0.0) == model.turns(0.9) == ("generators", "critics")
    owned = [id(each) for parameters in model.players().values() for each in parameters]
    assert sorted(owned) == sorted(id(each) for each in model.parameters())


def test_noise_in_place_of_the_filter():
    model = _copies(sigma=0.0, noise=0.3)
    added = model.reconstruct(X) - X
    torch.testing.assert_close(added, model.reconstruct(Y) - Y)  # number 0, whatever the batch
    torch.testing.assert_close(added[:1].expand_as(added), added)
    assert 0.25 < added.std() < 0.35
    torch.testing.assert_close(model.cycle(X, inhibited=False), X)
    losses = [_loss(model, "generators")["reconstruction"] for _ in range(2)]
    assert losses[0] == losses[1] > 0  # the batch's generator draws it
    with pytest.raises(ConfigError, match="sigma=0"):
        _model(sigma=1.0, noise=0.3)


def test_the_restoration_asks_with_the_filter_or_without():
    model = _model()
    (inhibited,), (free,) = Cycle()(model, X), Cycle(inhibited=False)(model, X)
    torch.testing.assert_close(inhibited.image, model.reconstruct(X))
    torch.testing.assert_close(free.image, model.to_real(model.to_simulated(X)))
    assert not torch.allclose(inhibited.image, free.image)
