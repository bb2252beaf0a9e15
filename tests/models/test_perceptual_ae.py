from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import LearnsInTurns, Reconstructs, ScoresPixels, Trains
from aberra.errors import ConfigError
from aberra.models.perceptual_ae import PerceptualAE, relative_difference


def _model(**options):
    torch.manual_seed(0)
    small = {"encoder": {"network": {"width": 4}, "latent": 8}, "autoencoder": {"network": {"width": 4}}}
    return PerceptualAE(**({"channels": 1, "size": (32, 32), "levels": [0, 1]} | small | options))


def _batch(turn="", progress=0.0, count=4):
    x = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    return Batch(x, torch.ones_like(x), generator, turn=turn, progress=progress)


def test_the_relative_difference_does_not_depend_on_the_scale_of_the_features():
    one, other = torch.randn(2, 3, 5, 4, 6)
    found = relative_difference(one, other)
    torch.testing.assert_close(
        found.mean(dim=(1, 2)), (one - other).abs().sum(dim=(1, 2, 3)) / one.abs().sum(dim=(1, 2, 3))
    )
    for scale in (1e-3, 50.0):
        torch.testing.assert_close(relative_difference(scale * one, scale * other), found)
    assert (relative_difference(one, torch.zeros_like(one)).mean(dim=(1, 2)) - 1).abs().max() < 1e-5
    assert not relative_difference(torch.zeros_like(one), torch.zeros_like(one)).any()


@pytest.mark.parametrize("size", [(32, 32), (16, 32, 16)])
def test_the_map_is_enlarged_and_zero_where_the_copy_is_perfect(size, monkeypatch):
    model = _model(dims=len(size), size=size).eval()
    for capability in (Trains, LearnsInTurns, Reconstructs, ScoresPixels):
        assert isinstance(model, capability)
    x = torch.rand(2, 1, *size)
    found = model.score_pixels(x)
    assert found.shape == x.shape
    assert (found >= 0).all()
    assert found.any()
    torch.testing.assert_close(model.score_pixels(x[1:]), found[1:])
    monkeypatch.setattr(model, "reconstruct", lambda x: x)
    assert not model.score_pixels(x).any()


def test_the_first_stage_is_simclrs():
    model = _model().eval()
    own = model.encoder.loss(_batch())["loss"]
    for batch in (_batch("encoder", 0.9), _batch(progress=0.4)):
        torch.testing.assert_close(model.loss(batch)["loss"], own)


def test_the_second_stage_compares_features_and_leaves_the_encoder_as_it_is():
    model = _model().train()
    model.encoder.requires_grad_(requires_grad=False)  # what the training does in a turn
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    batch = _batch("autoencoder")
    loss = model.loss(batch)["loss"]
    loss.backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())
    assert all(weight.grad is not None for weight in model.autoencoder.parameters())
    model.eval()
    x, restored = batch.x, model.reconstruct(batch.x)
    expected = [
        ((one - other).abs().flatten(1).sum(1) / one.abs().flatten(1).sum(1)).mean()
        for one, other in zip(
            model.encoder.feature_maps(x)[:2], model.encoder.feature_maps(restored)[:2], strict=True
        )
    ]
    torch.testing.assert_close(model.loss(_batch("autoencoder"))["loss"], sum(expected) / 2)


def test_stages_follow_one_another_and_move_their_own_weights():
    model = _model(pretraining=0.25)
    assert [model.turns(progress) for progress in (0.0, 0.2, 0.25)] == [
        ("encoder",),
        ("encoder",),
        ("autoencoder",),
    ]
    one, other = ({id(each) for each in part} for part in model.players().values())
    assert not one & other
    assert one | other == {id(each) for each in model.parameters()}


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="the encoder has 3 map"):
        _model(levels=[3])
    with pytest.raises(ConfigError, match=r"model.encoder=vae: expected an encoder of views: simclr"):
        _model(encoder="vae")
    with pytest.raises(ConfigError, match=r"model.autoencoder=vae: expected an autoencoder: ae"):
        _model(autoencoder="vae")
