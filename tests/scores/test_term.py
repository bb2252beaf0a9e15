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
