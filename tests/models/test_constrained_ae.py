from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.constrained_ae import ConstrainedAE


def _model(**options):
    torch.manual_seed(0)
    return ConstrainedAE(channels=1, size=(32, 32), width=4, latent=8, **options)


def _loss(model, x):
    return model.loss(Batch(x, torch.ones_like(x), torch.Generator()))


@pytest.mark.parametrize("reconstruction", ["l1", "l2"])
@pytest.mark.parametrize("bottleneck", ["dense", "spatial"])
def test_loss_is_the_papers_sum(reconstruction, bottleneck):
    model = _model(rho=0.7, reconstruction=reconstruction, bottleneck=bottleneck).eval()
    x = torch.rand(3, 1, 32, 32)
    restored = model.reconstruct(x)
    error = (x - restored).abs() if reconstruction == "l1" else (x - restored) ** 2
    constraint = ((model.code(x) - model.code(restored)) ** 2).sum() / 3
    found = _loss(model, x)
    torch.testing.assert_close(found["reconstruction"], error.sum() / 3)
    torch.testing.assert_close(found["constraint"], constraint)
    torch.testing.assert_close(found["loss"], error.sum() / 3 + 0.7 * constraint)
    assert constraint > 0


def test_constraint_is_zero_where_the_reconstruction_is_exact():
    model = _model()
    # a rotation of the pixels and its inverse
    rotation = torch.linalg.qr(torch.randn(64, 64))[0]
    turn, back = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
    turn.weight.data, back.weight.data = rotation, rotation.T
    model.encoder = nn.Sequential(nn.Flatten(), turn, nn.Identity())
    model.decoder = nn.Sequential(back, nn.Unflatten(1, (1, 8, 8)))
    x = torch.rand(4, 1, 8, 8)
    found = _loss(model, x)
    assert found["constraint"] < 1e-9
    assert found["reconstruction"] < 1e-9
    model.decoder = nn.Sequential(back, nn.Unflatten(1, (1, 8, 8)), nn.ConstantPad2d((-1, 1, 0, 0), 0.0))
    assert _loss(model, x)["constraint"] > 1e-2


def test_dropout_does_not_reach_the_constraint():
    """In training, codes of the same image differ by dropout only; the constraint must not see it."""
    model = _model(dropout=0.5)
    model.decoder = nn.Identity()
    model.encoder = nn.Sequential(nn.Identity(), nn.Identity(), nn.Dropout(0.5))
    x = torch.rand(4, 1, 8, 8)
    found = _loss(model, x)
    assert found["reconstruction"] > 0
    torch.testing.assert_close(found["constraint"], found["reconstruction"])  # Enc(x̂) = x̂ exactly


def test_both_sides_of_the_constraint_are_learnt():
    model = _model(rho=1.0).eval()
    x = torch.rand(2, 1, 32, 32)
    _loss(model, x)["constraint"].backward()
    assert all(weight.grad is not None for weight in model.decoder.parameters())
    assert any(weight.grad.abs().sum() > 0 for weight in model.decoder.parameters())


def test_parameters_and_refusals():
    full = ConstrainedAE(channels=1, size=(128, 128))
    assert sum(each.numel() for each in full.parameters()) == 1_627_249
    with pytest.raises(ConfigError, match="Known: l1, l2"):
        _model(reconstruction="l3")
    three = ConstrainedAE(channels=2, dims=3, size=(16, 32, 16), width=4, latent=8)
    x = torch.rand(2, 2, 16, 32, 16)
    assert _loss(three, x)["loss"].isfinite()
