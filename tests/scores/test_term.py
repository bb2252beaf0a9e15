from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from aberra.detector.postprocess import CaseScore
from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.vae import VAE
from aberra.scores import check_pairing
from aberra.scores.term import Term
from aberra.scores.terms import normalised_entropy
from linear_vae import LinearVAE


@pytest.mark.parametrize("of", ["reconstruction", "kl", "elbo"])
def test_each_slice_has_the_models_term_everywhere_in_the_mask(of, linear):
    model, x, mask, run = linear
    found = Term(of=of)(model, x, mask, run).inside(mask).map
    reconstruction, kl = (each.detach() for each in model.elbo_terms(x.transpose(0, 1)))
    expected = {"reconstruction": reconstruction, "kl": kl, "elbo": reconstruction + kl}[of]
    torch.testing.assert_close(found, (expected[:, None, None] * mask))
    assert CaseScore(reduce="max")(found.numpy(), mask.numpy()) == pytest.approx(
        float(expected.max()), rel=1e-5
    )
    assert CaseScore(reduce="mean")(found.numpy(), mask.numpy()) == pytest.approx(
        float(expected.mean()), rel=1e-5
    )


class Standard(nn.Module):
    """Pixels with a standard normal density, without its constant."""

    def log_density(self, x):
        return -0.5 * (x**2).flatten(1).sum(dim=1)


@pytest.mark.parametrize(("of", "unit"), [("nll", 1.0), ("bits-per-dim", 36 * math.log(2))])
def test_a_slice_has_its_negative_log_density(of, unit, linear):
    _, x, mask, run = linear
    found = Term(of=of)(Standard(), x, mask, run).inside(mask).map
    expected = 0.5 * (x[0] ** 2).sum(dim=(1, 2)) / unit
    torch.testing.assert_close(found, expected[:, None, None] * mask)


def test_a_slice_likelier_than_all_that_was_learnt_has_no_score_and_not_a_negative_one(linear):
    _, x, mask, run = linear
    likely = Standard()
    likely.log_density = lambda batch: torch.full((len(batch),), 2.0)
    assert not Term(of="nll")(likely, x, mask, run).map.any()


def test_image_and_feature_distance(linear):
    model, x, mask, run = linear
    model.features = lambda image: image.flatten(1)[:, :4] * 3
    found = Term(of="image-feature", kappa=0.5)(model, x, mask, run).inside(mask).map
    batch = x.transpose(0, 1)
    difference = (batch - model.reconstruct(batch)).flatten(1).detach()
    expected = (difference**2).mean(dim=1) + 0.5 * ((3 * difference[:, :4]) ** 2).mean(dim=1)
    torch.testing.assert_close(found, expected[:, None, None] * mask)


def test_windows_of_a_3d_model_are_blended():
    torch.manual_seed(0)
    model = VAE(channels=1, dims=3, size=(16, 16, 16), network={"width": 4}, latent=4).eval()
    x, mask = torch.rand(1, 24, 16, 16), torch.ones(24, 16, 16, dtype=torch.bool)
    found = Term(of="reconstruction")(model, x, mask, Runner(dims=3, size=(16, 16, 16))).map
    whole = [model.elbo_terms(x[None, :, low : low + 16])[0].item() for low in (0, 8)]
    assert min(whole) - 1e-2 <= float(found.min()) <= float(found.max()) <= max(whole) + 1e-2


def test_what_it_needs_and_refuses(linear):
    with pytest.raises(PairingError, match="HasCritic"):
        check_pairing(VAE, Term(of="image-feature"))
    with pytest.raises(PairingError, match=r"needs HasDensity.*feature-density, glow"):
        check_pairing(VAE, Term(of="nll"))
    for options in ({"of": "prior"}, {"of": "image-feature", "kappa": -1.0}, {"kappa": 0.5}):
        with pytest.raises(ConfigError):
            Term(**options)


def test_the_mean_residual_is_of_the_foreground_alone(linear):
    model, x, mask, run = linear
    found = Term(of="l1")(model, x, mask, run).inside(mask).map
    residual = (x - model.reconstruct(x.transpose(0, 1)).transpose(0, 1)).abs().detach()[0]
    expected = torch.stack([values[inner].mean() for values, inner in zip(residual, mask, strict=True)])
    torch.testing.assert_close(found, expected[:, None, None] * mask)


def test_entropy_is_1_of_an_even_map_and_0_of_one_pixel():
    inside = torch.ones(4, 1, 3, 3)
    inside[:, :, 0] = 0
    maps = torch.zeros(4, 1, 3, 3)
    maps[0] = 2.0  # even, in the mask and outside
    maps[1, 0, 1, 1] = 5.0  # one pixel
    maps[2, 0, 1, :2] = 1.0  # two of six
    expected = torch.tensor([1.0, 0.0, math.log(2) / math.log(6), 1.0])  # nothing at all is even
    torch.testing.assert_close(normalised_entropy(maps, inside), expected)
    torch.testing.assert_close(normalised_entropy(7 * maps, inside), expected)


def test_entropy_of_one_pixel_of_foreground_is_a_number():
    inside = torch.zeros(1, 1, 3, 3)
    inside[..., 1, 1] = 1
    assert normalised_entropy(torch.rand(1, 1, 3, 3), inside).tolist() == [1.0]


def test_concentration_is_what_entropy_leaves(linear):
    model, x, mask, run = linear
    both = [Term(of=of)(model, x, mask, run).inside(mask).map for of in ("entropy", "concentration")]
    torch.testing.assert_close(both[0] + both[1], mask.float())
    assert 0 < float(both[0][mask].min()) <= float(both[0].max()) < 1


def test_kl_takes_noise_for_more_normal_than_what_was_learnt():
    """The trap of Heer 2021: KL alone ranks pure noise below healthy images."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(36, 3, generator=generator))[0]
    model = LinearVAE(sigma=0.1)
    # probabilistic PCA: what differs between healthy images, each direction to a variance of 1
    spreads = torch.tensor([4.0, 3.0, 2.0])
    model.encoder.data, model.decoder.data = (directions / spreads).T, directions * spreads
    model.offset.data.zero_()
    healthy = (torch.randn(500, 3, generator=generator) * spreads) @ directions.T
    noise = torch.randn(500, 36, generator=generator) * healthy.std()  # as bright, as far from the mean
    (error, kl), (error_noise, kl_noise) = (
        [each.detach().mean() for each in model.elbo_terms(x.reshape(-1, 1, 6, 6))] for x in (healthy, noise)
    )
    assert kl_noise < kl
    assert error_noise > error + 1
