from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.context_restoration import ContextRestoration
from aberra.models.vae import VAE, kl_to_standard_normal

SMALL = {"network": {"width": 2}}


def _batch(x, seed=0, **options):
    return Batch(x, torch.ones(len(x), 1, *x.shape[2:]), torch.Generator().manual_seed(seed), **options)


def _model(**options):
    torch.manual_seed(0)
    return ContextRestoration(**{"channels": 1, "size": (32, 32)} | SMALL | options)


def test_the_network_and_its_parameters_are_the_thesis_ones():
    model = ContextRestoration(channels=1, size=(128, 128))
    assert sum(each.numel() for each in model.parameters()) == 4_542_369
    assert model.latent == 256
    assert model.kl_weight == 0


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 32)), (2, (16, 32)), (3, (16, 16, 16))])
@pytest.mark.parametrize("trains", [True, False])
def test_the_encoder_sees_exchanged_patches_and_the_target_is_the_image(dims, size, trains):
    model = _model(channels=2, dims=dims, size=size).train(trains)
    x, seen = torch.rand(3, 2, *size), {}
    model.encoder.register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    model.decoder.register_forward_hook(lambda *given: seen.update(out=given[-1]))
    losses = model.loss(_batch(x))
    assert torch.equal(seen["x"], model.swap(x, torch.ones(3, 1, *size), torch.Generator().manual_seed(0)))
    assert not torch.equal(seen["x"], x)
    expected = (seen["out"] - x).square().flatten(1).sum(dim=1).mean()
    torch.testing.assert_close(losses["reconstruction"], expected)
    assert losses["loss"] == losses["reconstruction"]  # no prior, as printed


def test_a_prior_adds_its_term():
    model = _model(kl_weight=2.0).eval()
    x = torch.rand(3, 1, 32, 32)
    losses = model.loss(_batch(x))
    swapped = model.swap(x, torch.ones_like(x), torch.Generator().manual_seed(0))
    kl = kl_to_standard_normal(*model.encode(swapped)).mean()
    torch.testing.assert_close(losses["kl"], kl)
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + 2 * kl)


def test_without_a_prior_a_wide_posterior_breaks_nothing():
    model = _model()
    shape = model.encode(torch.rand(2, 1, 32, 32))[0].shape
    model.encode = lambda _: (torch.zeros(shape), torch.full(shape, 100.0))
    terms = model.loss(_batch(torch.rand(2, 1, 32, 32)))
    assert terms["kl"].isinf()
    assert terms["loss"].isfinite()


def test_the_norm_is_the_root_of_the_squared_error():
    x, restored = torch.rand(3, 1, 32, 32), torch.rand(3, 1, 32, 32)
    mask = (torch.rand(3, 1, 32, 32) > 0.5).float()
    for inside in (None, mask):
        squared = _model().negative_log_likelihood(x, restored, inside)
        norm = _model(error="norm").negative_log_likelihood(x, restored, inside)
        torch.testing.assert_close(norm**2, squared)


def test_use_sees_the_whole_image():
    model = _model().eval()
    x = torch.rand(3, 1, 32, 32)
    assert torch.equal(model.reconstruct(x), model.decode(model.encode(x)[0]))


def test_its_weights_are_those_of_a_vae_with_the_same_network():
    network = {"name": "venkatakrishnan", "width": 2}
    vae = VAE(channels=1, size=(32, 32), network=network)
    assert {name: tensor.shape for name, tensor in _model().state_dict().items()} == {
        name: tensor.shape for name, tensor in vae.state_dict().items()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"swaps": 0}, "swaps=0: expected 1 or more"),
        ({"edge": 0}, r"edge=0: expected a number in \(0, 1\]"),
        ({"error": "l1"}, "error"),
        ({"latent": 31}, "latent=31: network venkatakrishnan splits its 64 features"),
        ({"likelihood": "laplace"}, "unknown option"),
        ({"network": "unet"}, "ContextRestoration takes"),
    ],
)
def test_refuses_what_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        _model(**options)
