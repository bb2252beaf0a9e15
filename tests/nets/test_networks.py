from __future__ import annotations

from dataclasses import replace
from inspect import signature

import pytest
import torch

from aberra.errors import ConfigError
from aberra.models.aae import AAE
from aberra.models.ae import AE
from aberra.models.cevae import CeVAE
from aberra.models.dae import DAE
from aberra.models.fanogan import FAnoGAN
from aberra.models.pddpm import PatchedDDPM
from aberra.models.vae import VAE
from aberra.nets.networks import Codes, DiffusionUNet, MapCodes, Skips, UNet, VectorCodes, network_for
from aberra.options import accepted
from aberra.registry import build, lookup, names, network_of

SHAPES = [(2, (32, 48)), (3, (16, 16, 32))]
VECTORS = ("unified", "zimmerer2018", "zimmerer2019", "mlp", "residual", "cradl")
MAPS = ("unified-spatial", "venkatakrishnan", "you")


def _network(name, dims=2, size=(32, 32), **options):
    return build("networks", {"name": name, **options}, channels=2, dims=dims, size=size)


def test_every_network_is_of_a_family():
    families = {name: lookup("networks", name) for name in names("networks")}
    assert {name for name, cls in families.items() if issubclass(cls, VectorCodes)} == set(VECTORS)
    assert {name for name, cls in families.items() if issubclass(cls, MapCodes)} == set(MAPS)
    assert {"unet": UNet, "diffusion-unet": DiffusionUNet}.items() <= families.items()


@pytest.mark.parametrize(("dims", "size"), SHAPES)
@pytest.mark.parametrize("name", [*VECTORS, *MAPS])
def test_a_decoder_undoes_the_shapes_of_its_encoder(name, dims, size):
    network, x = _network(name, dims, size, width=4), torch.rand(2, 2, *size)
    encoder = network.encoder()
    features = encoder(x)
    assert features.shape[:2] == (2, encoder.features)
    code = network.layer(encoder.features, 3)(features)
    assert code.shape == (2, 3, *features.shape[2:])
    assert network.decoder(3)(code).shape == network.decoder(3, norm="layer")(code).shape == x.shape
    if isinstance(network, MapCodes):
        assert network.decoder(None)(features).shape == x.shape
    body = network.critic()
    assert body(x).shape == (2, body.features)
    assert not any("BatchNorm" in type(each).__name__ for each in body.modules())


def test_dropout_is_behind_the_code_of_the_unified_network():
    def rates(network):
        return [each.p for each in network.decoder(3).modules() if isinstance(each, torch.nn.Dropout)]

    assert rates(_network("unified")) == [0.2]
    assert rates(_network("unified", dropout=0.5)) == [0.5]
    assert {_network(name).dropout for name in (*MAPS, *VECTORS[1:])} == {0.0}


def test_a_guide_is_the_same_network_in_another_width():
    network = _network("diffusion-unet", multipliers=[1, 2], attention=[16])
    assert network.unet(2)(torch.rand(1, 2, 32, 32), torch.ones(1)).shape == (1, 2, 32, 32)
    narrow = replace(network, width=8).encoder(5)
    assert narrow(torch.rand(1, 2, 32, 32), torch.ones(1)).shape == (1, 5)
    assert narrow.first.out_channels == 8


@pytest.mark.parametrize(
    ("model", "choice", "table"),
    [
        (VAE, None, {"name": "unified"}),
        (VAE, "zimmerer2018", {"name": "zimmerer2018"}),
        (VAE, {"width": 8}, {"name": "unified", "width": 8}),
        (FAnoGAN, {"name": "unified", "width": 8}, {"name": "unified", "dropout": 0.0, "width": 8}),
        (FAnoGAN, {"dropout": 0.3}, {"name": "unified", "dropout": 0.3}),
        (FAnoGAN, "residual", {"name": "residual"}),
        (PatchedDDPM, {"blocks": 2}, {"name": "diffusion-unet", "multipliers": (1, 2, 2), "blocks": 2}),
    ],
)
def test_a_table_changes_the_models_own_network_or_names_another(model, choice, table):
    assert network_of(model, choice) == table


@pytest.mark.parametrize(
    ("model", "family", "choice", "message"),
    [
        (
            AAE,
            VectorCodes,
            "you",
            "model.network=you: AAE takes cradl or mlp or residual or unified or zimmerer2018 or zimmerer2019 only",
        ),
        (
            AE,
            Codes,
            "unet",
            "takes cradl or mlp or residual or unified or unified-spatial or venkatakrishnan or you or zimmerer2018 or zimmerer2019 only",
        ),
        (DAE, Skips, "diffusion-unet", "DAE takes unet or unet-added only"),
        (VAE, VectorCodes, "unifed", "unknown model.network 'unifed'. Did you mean 'unified'"),
        (VAE, VectorCodes, {"depth": 2}, "unknown option of network unified: 'depth'"),
        (VAE, VectorCodes, {"width": 0}, "model.network.width=0"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(model, family, choice, message):
    shape = {"channels": 1, "dims": 2, "size": (32, 32)}
    with pytest.raises(ConfigError, match=message):
        network_for(model(**shape), choice, family, **shape)
    with pytest.raises(ConfigError, match=message):
        build("models", {"name": model.name, "network": choice}, **shape)


def test_a_model_that_extends_another_takes_its_options_once():
    options = {*signature(CeVAE).parameters}
    assert options > {*signature(VAE).parameters}
    assert "options" not in options
    assert {key: kind for key, (kind, _) in accepted(CeVAE).items() if key in accepted(VAE)} == {
        key: kind for key, (kind, _) in accepted(VAE).items()
    }
    with pytest.raises(ConfigError, match="kl_weight=-1"):
        CeVAE(channels=1, size=(32, 32), kl_weight=-1)
    assert {"predicts", "learned_variance"}.isdisjoint(signature(PatchedDDPM).parameters)
