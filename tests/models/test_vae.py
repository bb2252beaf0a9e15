from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.batch import Batch
from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.models.vae import VAE, kl_to_standard_normal
from aberra.nets.zimmerer import Coordinates
from aberra.registry import build


def _model(**options):
    torch.manual_seed(0)
    return VAE(
        **{"channels": 1, "size": (32, 32), "network": {"width": 4, "dropout": 0.0}, "latent": 8} | options
    )


def _seeded():
    return torch.Generator().manual_seed(0)


def _betas(model, count):
    return [model.beta(step) for step in range(count)]


def test_beta_rises_linearly_and_stays():
    found = _betas(_model(kl_weight=2.0, anneal="monotonic", anneal_steps=4), 7)
    assert found == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_cyclical_beta_rises_half_of_each_cycle():
    found = _betas(_model(kl_weight=3.0, anneal="cyclical", anneal_steps=6), 12)
    assert found == pytest.approx([0, 1, 2, 3, 3, 3] * 2)


def test_beta_is_constant_without_annealing():
    assert _betas(_model(kl_weight=0.3), 3) == [0.3] * 3


@pytest.mark.parametrize("training", [True, False])
def test_a_loss_has_the_beta_of_its_step(training):
    model = _model(kl_weight=1.0, anneal="monotonic", anneal_steps=2).train(training)
    x = torch.rand(2, 1, 32, 32)
    for step, beta in enumerate((0.0, 0.5, 1.0, 1.0)):
        found = model.loss(Batch(x, torch.ones_like(x), _seeded(), step=step))
        torch.testing.assert_close(found["loss"], found["reconstruction"] + beta * found["kl"])


def test_the_masked_loss_does_not_see_the_background():
    x, mask = torch.rand(2, 2, 32, 32), torch.zeros(2, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    model = _model(channels=2, masked=True).eval()
    before = model.loss(Batch(x, mask, _seeded()))["reconstruction"]
    assert before > 0
    decode = model.decode
    model.decode = lambda z: decode(z) + 5 * (1 - mask)
    torch.testing.assert_close(model.loss(Batch(x, mask, _seeded()))["reconstruction"], before)
    model.decode = lambda z: decode(z) + 5 * mask
    assert model.loss(Batch(x, mask, _seeded()))["reconstruction"] > before
    model.masked = False
    everywhere = model.loss(Batch(x, torch.ones_like(mask), _seeded()))["reconstruction"]
    torch.testing.assert_close(model.loss(Batch(x, mask, _seeded()))["reconstruction"], everywhere)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_likelihoods_are_those_of_torch_up_to_their_constant(scale):
    x, restored = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    # torch's Laplace is set by b; Normal by σ
    for likelihood, distribution in (
        ("laplace", torch.distributions.Laplace),
        ("gaussian", torch.distributions.Normal),
    ):
        model = _model(likelihood=likelihood, scale=scale)
        expected = -distribution(restored, scale).log_prob(x) + distribution(x, scale).log_prob(x)
        torch.testing.assert_close(model.negative_log_likelihood(x, restored), expected.flatten(1).sum(dim=1))


def test_draws_differ_and_do_not_depend_on_the_batch():
    model = _model().eval()
    x = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        together = torch.stack(list(model.sample_reconstructions(x, 3)))
        alone = torch.cat(
            [torch.stack(list(model.sample_reconstructions(each[None], 3))) for each in x], dim=1
        )
        longer = torch.stack(list(model.sample_reconstructions(x, 5)))
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together, longer[:3])
    assert (together[0] - together[1]).abs().max() > 1e-4
    mean, log_variance = model.encode(x)
    first = model.decode(mean + shared("gaussian", 0, mean) * (0.5 * log_variance).exp())
    torch.testing.assert_close(together[0], first)


@pytest.mark.parametrize("likelihood", VAE.LIKELIHOODS)
def test_elbo_terms_are_the_losses_pieces(likelihood):
    model = _model(likelihood=likelihood, scale=0.7, kl_weight=0.2).eval()
    # no posterior noise: the sample of the loss is the mean, and the KL follows from it
    model.log_variance[0].weight.data.zero_()
    model.log_variance[0].bias.data.fill_(-60.0)
    x = torch.rand(3, 1, 32, 32, requires_grad=True)
    reconstruction, kl = model.elbo_terms(x)
    assert reconstruction.shape == kl.shape == (3,)
    found = model.loss(Batch(x, torch.ones_like(x), _seeded()))
    torch.testing.assert_close(found["reconstruction"], reconstruction.mean())
    torch.testing.assert_close(found["kl"], kl.mean())
    torch.testing.assert_close(found["loss"], reconstruction.mean() + 0.2 * kl.mean())
    torch.testing.assert_close(kl, kl_to_standard_normal(*model.encode(x)))
    gradient = torch.autograd.grad((reconstruction + kl).sum(), x)[0]
    assert gradient.isfinite().all()
    assert gradient.any()


def test_zimmerers_network_has_his_layers():
    """Counted by hand: 4×4 convolutions 1-16-64-256-1024, two heads of 128, mirrored decoder, a
    last 4×4 convolution.
    """

    def conv(before, after):
        return before * after * 16 + after

    features = 1024 * 8 * 8
    encoder = conv(1, 16) + conv(16, 64) + conv(64, 256) + conv(256, 1024)
    heads = 2 * (features * 128 + 128)
    decoder = 128 * features + features
    decoder += conv(1024, 256) + conv(256, 64) + conv(64, 16) + conv(16, 16) + conv(16, 1)
    model = VAE(channels=1, size=(128, 128), network="zimmerer2018")
    assert sum(each.numel() for each in model.parameters()) == encoder + heads + decoder == 34_183_601
    assert sum(each.numel() for each in VAE(channels=1, size=(128, 128)).parameters()) == 1_758_449
    assert not any(isinstance(each, torch.nn.Dropout) and each.p for each in model.modules())


def test_zimmerers_network_of_the_vae_has_his_layers():
    """Counted by hand, no offsets: 4×4 convolutions 1-16-32-64-256, one of 4×4 to mean and log σ²
    of 256, and their mirror image.
    """
    maps = [1, 16, 32, 64, 256]
    convolutions = sum(16 * before * after for before, after in pairwise(maps))
    to_code, from_code = 16 * 256 * 2 * 256, 256 * 16 * 256
    config = Method.load("zimmerer2019-vae").model
    model = build("models", config, channels=1, size=(64, 64))
    assert (
        sum(each.numel() for each in model.parameters())
        == 2 * convolutions + to_code + from_code
        == 3_752_448
    )
    # the linear layer is the convolution over the whole of the 4×4 map
    maps = model.encoder[0](torch.rand(2, 1, 64, 64))
    kernel = model.mean[0].weight.unflatten(1, (256, 4, 4))
    expected = torch.nn.functional.conv2d(maps, kernel)[:, :, 0, 0]
    torch.testing.assert_close(model.mean(maps.flatten(1)), expected, atol=1e-5, rtol=1e-4)


def test_the_published_context_vae_is_told_where_it_is():
    """The study's 16-64-256-1024 with two coordinates more at every convolution, a code of 1,024."""

    def conv(before, after):
        return (before + 2) * after * 16 + after

    config = Method.load("zimmerer2018-cevae").model
    with torch.device("meta"):
        model = build("models", config, channels=1, size=(64, 64))
    flat = 1024 * 4 * 4
    encoder = conv(1, 16) + conv(16, 64) + conv(64, 256) + conv(256, 1024)
    decoder = 1024 * flat + flat + conv(1024, 256) + conv(256, 64) + conv(64, 16) + conv(16, 16) + conv(16, 1)
    heads = 2 * (flat * 1024 + 1024)
    assert sum(each.numel() for each in model.parameters()) == encoder + heads + decoder == 59_356_881
    assert (model.noise.fill, model.noise.place, model.noise.smallest, model.noise.largest) == (
        "random",
        "anywhere",
        0,
        0.5,
    )


def test_coordinates_stand_beside_the_channels():
    told = Coordinates()(torch.zeros(2, 3, 4, 5))
    assert told.shape == (2, 5, 4, 5)
    torch.testing.assert_close(told[1, 3, :, 2], torch.linspace(-1, 1, 4))
    torch.testing.assert_close(told[0, 4, 1], torch.linspace(-1, 1, 5))


def test_the_spatial_code_is_a_map_that_is_pulled_to_the_prior_everywhere():
    model = build("models", Method.load("vae-spatial").model, channels=1, size=(128, 128)).eval()
    x = torch.rand(2, 1, 128, 128)
    mean, log_variance = model.encode(x)
    assert mean.shape == log_variance.shape == (2, 64, 8, 8)
    assert model.reconstruct(x).shape == x.shape
    kl = model.elbo_terms(x)[1]
    by_hand = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=(1, 2, 3))
    torch.testing.assert_close(kl, by_hand)
    dense = VAE(channels=1, size=(128, 128))
    squeeze = (128 * 16 + 16) + (16 * 128 + 128) + 3 * 1024 * 128 + 2 * 128 + 1024
    maps = 3 * 128 * 64 + 2 * 64 + 128
    found, theirs = (sum(each.numel() for each in net.parameters()) for net in (model, dense))
    assert found == theirs - squeeze + maps == 1_384_545


def test_the_network_of_linear_layers_has_its_publications_units():
    model = VAE(channels=1, size=(28, 28), network="mlp", latent=20, likelihood="gaussian")
    pixels, hidden, code = 28 * 28, 400, 20
    there = (pixels + 1) * hidden + (hidden + 1) * hidden + 2 * (hidden + 1) * code
    back = (code + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * pixels
    assert sum(each.numel() for each in model.parameters()) == there + back == 973_624


NETWORKS = [
    {"name": "zimmerer2018", "width": 2},
    {"name": "zimmerer2018", "width": 2, "coordinates": True},
    {"name": "zimmerer2019", "width": 2},
    {"name": "mlp", "width": 8},
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_other_networks_in_two_and_three_dimensions(dims, size, network):
    model = VAE(channels=2, dims=dims, size=size, network=network, latent=4)
    x = torch.rand(2, 2, *size)
    assert model.reconstruct(x).shape == x.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anneal": "cyclic"}, "Did you mean 'cyclical'"),
        ({"likelihood": "gauss"}, "Known: gaussian, laplace"),
        ({"network": "zimerer"}, "Did you mean 'zimmerer201"),
        ({"scale": 0.0}, "scale=0"),
        ({"anneal_steps": 0}, "anneal_steps=0"),
        (
            {"network": {"name": "zimmerer2018", "dropout": 0.2}},
            "unknown option of network zimmerer2018: 'dropout'",
        ),
        (
            {"network": "unet"},
            "VAE takes cradl or mlp or residual or unified or unified-spatial or venkatakrishnan or you or zimmerer2018",
        ),
    ],
)
def test_refuses_what_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        _model(**options)


def test_the_code_is_the_posterior_mean():
    model, x = _model().eval(), torch.rand(2, 1, 32, 32)
    assert torch.equal(model.code(x), model.encode(x)[0])
