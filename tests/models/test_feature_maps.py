from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import FitsDensity, HasFeatures, ScoresPixels, Trains
from aberra.densities.map_density import Maps
from aberra.errors import ConfigError, NotFittedError
from aberra.models.ae import AE
from aberra.models.feature_maps import FeatureMaps
from aberra.models.simclr import SimCLR
from aberra.models.vae import VAE
from aberra.registry import build

SHAPE = {"channels": 1, "dims": 2, "size": (32, 32)}
NARROW = {"network": {"width": 4}}
ENCODERS = {
    "context-restoration": NARROW,
    "simclr": NARROW | {"latent": 6},
    "vae": {"network": {"name": "unified-spatial", "width": 4}},
    "ae": NARROW,
    "ddpm": {"network": {"width": 8}},
    "resnet": {"resolution": 64},
    "vit": {"resolution": 56, "width": 16, "depth": 4, "heads": 2, "grid": 4},
}
DENSITIES = {
    "memory-bank": {"budget": 64, "candidates": 256},
    "padim": {"chosen": 8},
    "feature-ar": {"width": 8, "blocks": 1, "epochs": 2},
}


def _x(count, seed=0):
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def _model(encoder="context-restoration", density="memory-bank", **options):
    torch.manual_seed(0)
    tables = {
        "encoder": {"name": encoder} | ENCODERS[encoder],
        "density": {"name": density} | DENSITIES[density],
    }
    return FeatureMaps(**SHAPE, **tables, **({"levels": [0, 1]} | options)).eval()


def _check(model):
    assert isinstance(model, ScoresPixels)
    assert isinstance(model, FitsDensity)
    assert isinstance(model, Trains)
    with pytest.raises(NotFittedError, match="not fitted"):
        model.score_pixels(_x(2))
    model.fit_density(_x(20), _x(10, seed=1), seed=0)
    found = model.score_pixels(_x(3, seed=2))
    assert found.shape == (3, 1, 32, 32)
    assert (found >= 0).all()
    assert found.any()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_model_with_maps_can_be_the_encoder(encoder):
    _check(_model(encoder))


@pytest.mark.parametrize("density", DENSITIES)
def test_any_density_of_maps_can_be_the_density(density):
    _check(_model(density=density))


@pytest.mark.parametrize(
    "network", ["unified", "unified-spatial", "cradl", "residual", "venkatakrishnan", "you"]
)
def test_the_maps_of_an_encoder_are_those_its_layers_make(network):
    torch.manual_seed(0)
    model = VAE(**SHAPE, network={"name": network}).eval()
    maps = model.feature_maps(_x(2))
    edges = [each.shape[-1] for each in maps]
    assert edges == sorted(set(edges), reverse=True)
    assert edges[0] == 16
    with torch.no_grad():
        last = model.encoder(_x(2))
    if last.ndim == 4:
        torch.testing.assert_close(maps[-1], last)
    for other in (AE(**SHAPE, network=network), SimCLR(**SHAPE)):
        assert isinstance(other, HasFeatures)
        assert other.eval().feature_maps(_x(2))[0].shape[-1] == 16


def test_features_are_means_of_neighbours_at_the_finest_level():
    model = _model(pool=3)
    fine, coarse = model.encoder.feature_maps(_x(1))[:2]
    found = model._maps(_x(1))
    assert found.shape == (1, fine.shape[1] + coarse.shape[1], 16, 16)
    torch.testing.assert_close(found[0, : fine.shape[1], 5, 7], fine[0, :, 4:7, 6:9].mean(dim=(1, 2)))
    torch.testing.assert_close(found[0, : fine.shape[1], 0, 15], fine[0, :, :2, 14:].mean(dim=(1, 2)))
    assert torch.equal(_model(pool=1, levels=[1])._maps(_x(1)), coarse)


def test_the_map_is_the_energy_of_the_location():
    model = _model(levels=[0])
    model.fit_density(_x(20), _x(10, seed=1), seed=0)
    new = _x(2, seed=2)
    energy = model.density.energy(model._maps(new))
    found = model.score_pixels(new)[:, 0]
    # the middle of four locations: weights of 9, 3, 3 and 1 sixteenths
    expected = (9 * energy[:, 4, 4] + 3 * energy[:, 4, 5] + 3 * energy[:, 5, 4] + energy[:, 5, 5]) / 16
    torch.testing.assert_close(found[:, 9, 9], expected)


def test_the_loss_is_the_encoders_and_learning_a_density_does_not_touch_it():
    model = _model("vae").train()
    batch = Batch(_x(4), torch.ones(4, 1, 32, 32), torch.Generator().manual_seed(0))
    model.loss(batch)["loss"].backward()
    assert all(weight.grad is None for weight in model.density.parameters())
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    model.eval().fit_density(_x(20), _x(10, seed=1), seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())


@pytest.mark.parametrize("density", DENSITIES)
def test_a_learnt_density_is_in_the_state(density):
    model, other = _model(density=density), _model(density=density)
    model.fit_density(_x(20), _x(10, seed=1), seed=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.score_pixels(_x(2)), other.score_pixels(_x(2)))


@pytest.mark.parametrize("density", DENSITIES)
def test_maps_that_are_not_kept_teach_the_same(density, monkeypatch):
    model, other = _model(density=density), _model(density=density)
    found = model.fit_density(_x(40), _x(10, seed=1), seed=0)
    monkeypatch.setattr(Maps, "kept", lambda maps: maps)
    assert other.fit_density(_x(40), _x(10, seed=1), seed=0) == found
    torch.testing.assert_close(model.score_pixels(_x(2)), other.score_pixels(_x(2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "fanogan"}, "model.encoder=fanogan: expected a model with feature maps: .*simclr"),
        ({"encoder": "pca"}, "model.encoder=pca"),
        ({"encoder": {"name": "vae", "network": "mlp"}}, r"the encoder has 0 map\(s\)"),
        ({"density": "gmm"}, "model.density=gmm: expected a density of feature maps: .*memory-bank.*padim"),
        (
            {"density": {"budgte": 3}},
            "unknown option of density memory-bank: 'budgte'. Did you mean 'budget'",
        ),
        ({"levels": [1, 9]}, r"the encoder has 4 map\(s\) at this size, of 16×16, 8×8, 4×4, 2×2 locations"),
        ({"levels": [1, 1]}, "expected ascending numbers"),
        ({"pool": 2}, "expected an odd number"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build("models", {"name": "feature-maps"} | options, **SHAPE)


def test_codes_have_no_density_of_maps():
    with pytest.raises(ConfigError, match="expected a density of codes: gmm, realnvp"):
        build("models", {"name": "feature-density", "density": "memory-bank"}, **SHAPE)
