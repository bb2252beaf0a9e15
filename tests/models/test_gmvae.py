from __future__ import annotations

from math import log

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.gmvae import GMVAE
from aberra.models.vae import kl_to_standard_normal

DENSE = {"network": {"name": "unified", "width": 4}, "latent": 6}
SPATIAL = {"network": {"name": "unified-spatial", "width": 4}, "latent": 3}
YOU = {"network": {"name": "you", "width": 8}}
KINDS = pytest.mark.parametrize("kind", [DENSE, SPATIAL, YOU], ids=["dense", "spatial", "you"])


def _model(kind, **options):
    torch.manual_seed(0)
    return GMVAE(**{"channels": 1, "size": (32, 32), "network": {"width": 4}} | kind | options)


def _seeded():
    return torch.Generator().manual_seed(0)


def _posteriors(model, x):
    features = model.encoder(x)
    return (
        model.mean(features),
        model.log_variance(features),
        model.w_mean(features),
        model.w_log_variance(features),
    )


def _normal(mean, log_variance):
    return Normal(mean, (0.5 * log_variance).exp())


@KINDS
def test_responsibilities_are_bayes_rule_and_sum_to_one(kind):
    model = _model(kind, clusters=5, dim_w=2).eval()
    z, _, w, _ = _posteriors(model, torch.rand(3, 1, 32, 32))
    z, w = z + torch.randn_like(z), w + torch.randn_like(w)
    found = model.responsibilities(z, w)
    assert found.shape == (3, 5, *z.shape[2:])
    torch.testing.assert_close(found.sum(dim=1), torch.ones_like(found[:, 0]))
    means, log_variances = model.components(w)
    joint = _normal(means, log_variances).log_prob(z.unsqueeze(1)).sum(dim=2).exp() / 5
    torch.testing.assert_close(found, joint / joint.sum(dim=1, keepdim=True))
    assert found.std(dim=1).max() > 1e-3


@KINDS
def test_one_cluster_is_the_gaussian_closed_form(kind):
    model = _model(kind, clusters=1).eval()
    x = torch.rand(3, 1, 32, 32)
    mean, log_variance, w_mean, w_log_variance = _posteriors(model, x)
    means, log_variances = (each[:, 0] for each in model.components(w_mean))
    of_z = kl_divergence(_normal(mean, log_variance), _normal(means, log_variances)).flatten(1).sum(dim=1)
    of_w = kl_to_standard_normal(w_mean, w_log_variance)

    divergences = model._divergences((mean, log_variance), (w_mean, w_log_variance), mean, w_mean, floor=0.0)

    torch.testing.assert_close(divergences["kl_z"], of_z)
    torch.testing.assert_close(divergences["kl_w"], of_w)
    assert not divergences["kl_c"].any()
    torch.testing.assert_close(model.elbo_terms(x)[1], of_z + of_w)


@KINDS
def test_kl_of_z_is_the_expectation_over_clusters_and_that_of_c_its_entropy_deficit(kind):
    model = _model(kind, clusters=4).eval()
    mean, log_variance, w_mean, w_log_variance = _posteriors(model, torch.rand(2, 1, 32, 32))
    means, log_variances = model.components(w_mean)
    share = model.responsibilities(mean, w_mean)
    posterior = _normal(mean.unsqueeze(1), log_variance.unsqueeze(1))
    each = kl_divergence(posterior, _normal(means, log_variances)).sum(dim=2)
    found = model._divergences((mean, log_variance), (w_mean, w_log_variance), mean, w_mean, floor=0.0)
    torch.testing.assert_close(found["kl_z"], (share * each).reshape(2, -1).sum(dim=1))
    deficit = log(4) - torch.special.entr(share).sum(dim=1)
    torch.testing.assert_close(found["kl_c"], deficit.reshape(2, -1).sum(dim=1), atol=1e-4, rtol=1e-4)


@KINDS
def test_certain_clusters_cost_log_k_and_equal_ones_nothing(kind):
    model = _model(kind, clusters=3).eval()
    mean, log_variance, w_mean, w_log_variance = _posteriors(model, torch.rand(2, 1, 32, 32))
    given = (mean, log_variance), (w_mean, w_log_variance), mean, w_mean
    locations = mean[0, 0].numel()
    last = model.prior[2]
    last.weight.data.zero_()
    last.bias.data.zero_()
    assert model._divergences(*given, floor=0.0)["kl_c"].abs().max() < 1e-5 * locations
    # components at −100, 0 and 100 along every axis, posterior near 0
    centres = last.bias.data.unflatten(0, (2, 3, model.latent))[0]
    centres[0], centres[2] = -100.0, 100.0
    torch.testing.assert_close(
        model._divergences(*given, floor=0.0)["kl_c"], torch.full((2,), locations * log(3))
    )
    assert model.responsibilities(mean, w_mean)[:, 1].min() > 0.999


def test_the_floor_acts_location_by_location_in_training_only():
    model = _model(SPATIAL, clusters=3, cluster_floor=1.0).eval()
    last = model.prior[2]
    last.weight.data.zero_()
    last.bias.data.zero_()
    x = torch.rand(2, 1, 32, 32)
    locations = model.encode(x)[0][0, 0].numel()
    assert locations == 64 // 4
    found = model.loss(Batch(x, torch.ones_like(x), _seeded()))
    torch.testing.assert_close(found["kl_c"], torch.tensor(float(locations)))
    z, w = model._posteriors(x)
    unclamped = model._divergences(z, w, z[0], w[0], floor=0.0)
    torch.testing.assert_close(model.elbo_terms(x)[1], sum(unclamped.values()))
    assert unclamped["kl_c"].max() < 1e-4


@KINDS
def test_loss_is_the_sum_of_its_terms(kind):
    model = _model(kind, cluster_floor=0.3).eval()
    x = torch.rand(3, 1, 32, 32)
    found = model.loss(Batch(x, torch.ones_like(x), _seeded()))
    parts = found["reconstruction"] + found["kl_z"] + found["kl_w"] + found["kl_c"]
    torch.testing.assert_close(found["loss"], parts)
    # the same noise by hand: z first, then w
    mean, log_variance, w_mean, w_log_variance = _posteriors(model, x)
    generator = _seeded()
    z = mean + torch.randn(mean.shape, generator=generator) * (0.5 * log_variance).exp()
    w = w_mean + torch.randn(w_mean.shape, generator=generator) * (0.5 * w_log_variance).exp()
    torch.testing.assert_close(found["reconstruction"], (x - model.decode(z)).abs().sum() / 3)
    kl = model._divergences((mean, log_variance), (w_mean, w_log_variance), z, w, floor=0.3)
    torch.testing.assert_close(found["kl_z"], kl["kl_z"].mean())


@KINDS
def test_the_decoder_is_fed_the_sampled_z(kind):
    """The public code's spatial decoder sees the encoder's features instead."""
    model = _model(kind).eval()
    x = torch.rand(2, 1, 32, 32)
    seen = []
    model.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.loss(Batch(x, torch.ones_like(x), _seeded()))
    mean, log_variance = model.encode(x)
    z = mean + torch.randn(mean.shape, generator=_seeded()) * (0.5 * log_variance).exp()
    torch.testing.assert_close(seen[0], z)
    torch.testing.assert_close(model.reconstruct(x), model.decode(mean))
    first, second = model.sample_reconstructions(x, 2)
    assert (first - second).abs().max() > 1e-3


@KINDS
def test_draws_and_terms_do_not_depend_on_the_batch(kind):
    model = _model(kind).eval()
    x = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        together, alone = (
            torch.stack(list(model.sample_reconstructions(x, 2))),
            torch.cat([torch.stack(list(model.sample_reconstructions(each[None], 2))) for each in x], dim=1),
        )
        terms, single = model.elbo_terms(x)[1], torch.cat([model.elbo_terms(each[None])[1] for each in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(terms, single)


@KINDS
def test_elbo_terms_are_non_negative_and_their_gradient_is_the_finite_difference(kind):
    model = _model(kind).eval().double()
    x = torch.rand(2, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    error, kl = model.elbo_terms(x)
    assert error.shape == kl.shape == (2,)
    assert (error >= 0).all()
    assert (kl >= 0).all()
    gradient = torch.autograd.grad(kl.sum(), x)[0]
    direction = torch.randn_like(x)
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (model.elbo_terms(x + sign * step * direction)[1].sum() for sign in (1, -1))
    torch.testing.assert_close(
        (gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6
    )
    assert gradient.any()


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
@KINDS
def test_shapes_in_two_and_three_dimensions(kind, dims, size):
    model = _model(kind, channels=2, dims=dims, size=size)
    x = torch.rand(2, 2, *size)
    losses = model.loss(Batch(x, torch.ones(2, 1, *size), _seeded()))
    losses["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert model.reconstruct(x).shape == x.shape


def _conv(before, after, kernel):
    return before * after * kernel * kernel + after


def test_parameters_counted_by_hand():
    """Heads on 1,024 numbers, or 128 or 64 a location; w → 64 → two times nine components."""

    def count(**options):
        return sum(each.numel() for each in GMVAE(channels=1, size=(128, 128), **options).parameters())

    def heads(features, latent):
        return 2 * (features * latent + latent) + 2 * (features + 1)

    def prior(latent):
        return (64 + 64) + (64 * 18 * latent + 18 * latent)

    encoder = _conv(1, 32, 5) + _conv(32, 64, 5) + _conv(64, 128, 5) + _conv(128, 128, 5) + 2 * 352
    decoder = 2 * 128 + _conv(128, 128, 5) + _conv(128, 64, 5) + _conv(64, 32, 5) + _conv(32, 32, 5)
    decoder += 2 * 256 + _conv(32, 1, 1)
    both = encoder + decoder
    squeeze, expand = _conv(128, 16, 1), 128 * 1024 + 1024 + _conv(16, 128, 1)
    assert count() == both + squeeze + expand + heads(1024, 128) + prior(128) == 1_910_387
    assert (
        count(network="unified-spatial")
        == both + _conv(128, 128, 1) + heads(128, 128) + prior(128)
        == 1_559_395
    )
    you = 2 * (_conv(1, 64, 3) + 5 * _conv(64, 64, 3)) + _conv(64, 1, 3)
    assert count(network="you") == you + heads(64, 1) + prior(1) == 372_695


def test_only_the_studys_networks_have_dropout_the_spatial_one_if_it_is_asked_for():
    def rates(kind):
        return {each.p for each in _model(kind).modules() if isinstance(each, torch.nn.Dropout)}

    assert rates(DENSE) == {0.2}
    assert rates(SPATIAL) == rates(YOU) == {0.0}
    assert rates({"network": {"name": "unified-spatial", "dropout": 0.3}}) == {0.3}


def test_codes_of_the_publications():
    x = torch.zeros(1, 1, 128, 128)
    assert GMVAE(channels=1, size=(128, 128)).eval().encode(x)[0].shape == (1, 128)
    spatial = GMVAE(channels=1, size=(128, 128), network="unified-spatial").eval()
    assert spatial.encode(x)[0].shape == (1, 128, 8, 8)
    original = GMVAE(channels=1, size=(128, 128), network="you").eval()
    assert original.encode(x)[1].shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "unified-spacial"}, "Did you mean 'unified-spatial'"),
        (
            {"network": "unet"},
            "takes cradl or mlp or residual or unified or unified-spatial or venkatakrishnan or you or zimmerer2018 or zimmerer2019 only",
        ),
        ({"clusters": 0}, "clusters=0"),
        ({"latent": 0}, "latent=0"),
        ({"network": {"name": "you", "dropout": 0.2}}, "unknown option of network you: 'dropout'"),
        ({"network": "you", "size": (30, 32)}, "divisible by 4"),
    ],
)
def test_refuses_what_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        GMVAE(**{"channels": 1, "size": (32, 32)} | options)
