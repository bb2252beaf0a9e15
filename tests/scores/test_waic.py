from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError, PairingError
from aberra.models.ensemble import Ensemble
from aberra.models.vae import VAE
from aberra.scores import check_pairing
from aberra.scores.residual import Residual
from aberra.scores.term import Term
from aberra.scores.waic import WAIC

MEMBER = {"name": "vae", "latent": 3, "network": {"width": 4}}


def _ensemble(members=3):
    torch.manual_seed(0)
    return Ensemble(channels=1, size=(16, 16), member=MEMBER, members=members).eval()


@torch.no_grad()
def test_waic_is_mean_and_variance_of_the_members_bounds():
    model, x = _ensemble(), torch.rand(4, 1, 16, 16)
    every = torch.stack([sum(each.elbo_terms(x)) for each in model.members()])
    expected = every.mean(dim=0) + ((every - every.mean(dim=0)) ** 2).mean(dim=0)
    torch.testing.assert_close(WAIC().value(model, x), expected)


@torch.no_grad()
def test_members_that_agree_leave_the_mean():
    model, x = _ensemble(), torch.rand(4, 1, 16, 16)
    first, *others = model.members()
    for each in others:
        each.load_state_dict(first.state_dict())
    torch.testing.assert_close(WAIC().value(model, x), sum(first.elbo_terms(x)))


def test_the_map_has_each_slices_value(linear):
    vae, x, mask, run = linear
    vae.members = lambda: [vae, vae]
    expected = Term(of="elbo")(vae, x, mask, run).map
    torch.testing.assert_close(WAIC()(vae, x, mask, run).map, expected)


@torch.no_grad()
def test_an_ensemble_answers_as_the_mean_of_its_members():
    model, x = _ensemble(), torch.rand(2, 1, 16, 16)
    own = [each.reconstruct(x) for each in model.members()]
    torch.testing.assert_close(model.reconstruct(x), torch.stack(own).mean(dim=0))
    drawn = list(model.sample_reconstructions(x, 4))
    for found, expected in zip(drawn, [*own, own[0]], strict=True):
        torch.testing.assert_close(found, expected)
    for found, expected in zip(
        model.elbo_terms(x), zip(*(each.elbo_terms(x) for each in model.members()), strict=True), strict=True
    ):
        torch.testing.assert_close(found, torch.stack(expected).mean(dim=0))


def test_it_has_as_many_weights_as_its_members():
    sizes = [sum(weight.numel() for weight in _ensemble(k).parameters()) for k in (2, 5)]
    one = sum(weight.numel() for weight in VAE(channels=1, size=(16, 16), latent=3, network={"width": 4}).parameters())  # fmt: skip
    assert sizes == [2 * one, 5 * one]


def test_five_vaes_of_the_study():
    with torch.device("meta"):
        model = Ensemble(channels=1, size=(128, 128))
    assert sum(weight.numel() for weight in model.parameters()) == 5 * 1_758_449 == 8_792_245


def test_what_it_needs_and_refuses():
    check_pairing(Ensemble, Residual(restore={"name": "draws", "draws": 5}))
    with pytest.raises(PairingError, match=r"needs HasMembers.*ensemble"):
        check_pairing(VAE, WAIC())
    for member in ({"name": "ae"}, {"name": "fanogan"}, {"name": "ensemble"}, {"name": "vae", "width": 3}):
        with pytest.raises(ConfigError, match=r"member|option"):
            Ensemble(channels=1, size=(16, 16), member=member)
    with pytest.raises(ConfigError):
        Ensemble(channels=1, size=(16, 16), members=1)
