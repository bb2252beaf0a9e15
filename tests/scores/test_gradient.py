from __future__ import annotations

import math

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.diffusion.noise import shared
from aberra.errors import ConfigError, PairingError
from aberra.models.ae import AE
from aberra.models.constant import Constant
from aberra.models.glow import Glow
from aberra.models.vae import VAE
from aberra.nets.flows import log_normal
from aberra.scores import SmoothedScore, check_pairing
from aberra.scores.gradient import Gradient
from aberra.scores.terms import term


@pytest.mark.parametrize("of", ["reconstruction", "kl", "elbo"])
def test_gradients_agree_with_the_closed_form_and_with_finite_differences(of, linear):
    model, x, _, _ = linear
    batch = x.transpose(0, 1)
    found = Gradient(of=of).gradient(model, batch)
    reconstruction, kl = model.gradients(batch)
    expected = {"reconstruction": reconstruction, "kl": kl, "elbo": reconstruction + kl}[of]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)

    exact, step = model.double(), 1e-5
    wide = batch.double()
    for pixel in [(0, 0), (2, 5), (3, 1)]:
        nudge = torch.zeros_like(wide)
        nudge[(..., *pixel)] = step
        slope = (term(exact, wide + nudge, of) - term(exact, wide - nudge, of)) / (2 * step)
        torch.testing.assert_close(found[(..., *pixel)][:, 0].double(), slope, atol=1e-4, rtol=1e-3)


def test_the_map_is_the_absolute_gradient_inside_the_mask(linear):
    model, x, mask, run = linear
    found = Gradient(of="kl")(model, x, mask, run)
    _, kl = model.gradients(x.transpose(0, 1))
    torch.testing.assert_close(found.inside(mask).map, kl[:, 0].abs() * mask, atol=1e-5, rtol=1e-4)
    assert found.reconstruction is None
    assert all(each.grad is None for each in model.parameters())


def test_smoothgrad_averages_signed_gradients_of_independent_noise(linear):
    model, x, _, _ = linear
    batch = x.transpose(0, 1)
    score = Gradient(of="kl", smoothgrad=3, noise=0.5)
    parts = [
        Gradient(of="kl").gradient(model, batch + 0.5 * shared("gaussian", draw, batch)) for draw in range(3)
    ]
    torch.testing.assert_close(score.gradient(model, batch), sum(parts) / 3)
    # independent: the spread of the mean falls with 1/√n, and does not grow as a random
    # walk's would
    plain = Gradient(of="kl").gradient(model, batch)
    few, many = (
        (Gradient(of="kl", smoothgrad=n, noise=0.5).gradient(model, batch) - plain).abs().mean()
        for n in (4, 400)
    )
    assert many < 0.3 * few


def test_models_without_a_likelihood_have_the_gradient_of_their_error():
    torch.manual_seed(0)
    model = AE(channels=1, size=(32, 32), network={"width": 4}, latent=4).eval()
    check_pairing(model, Gradient(of="reconstruction"))
    with pytest.raises(PairingError, match="HasElbo"):
        check_pairing(model, Gradient(of="kl"))
    with pytest.raises(PairingError, match="Reconstructs"):
        check_pairing(Constant, Gradient(of="reconstruction"))
    x = torch.rand(1, 1, 32, 32)
    found = Gradient(of="reconstruction").gradient(model, x)
    nudge = torch.zeros_like(x)
    nudge[..., 16, 16] = 1e-2
    slope = (term(model, x + nudge, "reconstruction") - term(model, x - nudge, "reconstruction")) / 2e-2
    assert float(found[..., 16, 16]) == pytest.approx(float(slope.detach()), rel=0.05, abs=0.02)


@pytest.mark.parametrize(("of", "unit"), [("nll", 1.0), ("bits-per-dim", 16 * 16 * math.log(2))])
def test_the_gradient_of_a_density_agrees_with_finite_differences(of, unit):
    torch.manual_seed(0)
    model = Glow(channels=1, size=(16, 16), levels=2, steps=2, width=8).double().eval()
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    model.log_density = lambda x: log_normal(model.flow(x)[0]) + model.flow(x)[1]
    x, step = torch.rand(2, 1, 16, 16).double(), 1e-5
    found = Gradient(of=of).gradient(model, x)
    for pixel in [(0, 0), (7, 12)]:
        nudge = torch.zeros_like(x)
        nudge[(..., *pixel)] = step
        slope = (model.log_density(x - nudge) - model.log_density(x + nudge)) / (2 * step * unit)
        torch.testing.assert_close(found[(..., *pixel)][:, 0], slope, atol=1e-6, rtol=1e-5)


def test_the_batch_does_not_change_the_map_and_smoothing_stays_in_the_slice(linear):
    torch.manual_seed(0)
    vae = VAE(channels=1, size=(32, 32), network={"width": 4}, latent=4).eval()
    x, mask = torch.rand(1, 5, 32, 32), torch.ones(5, 32, 32, dtype=torch.bool)
    score = SmoothedScore(Gradient(of="elbo", smoothgrad=3), smooth=1.0)
    one, all_at_once = (score(vae, x, mask, Runner(dims=2, size=(32, 32), batch_size=n)).map for n in (1, 5))
    torch.testing.assert_close(one, all_at_once, atol=1e-4, rtol=1e-4)
    alone = score(vae, x[:, 2:3], mask[2:3], Runner(dims=2, size=(32, 32))).map
    torch.testing.assert_close(alone[0], all_at_once[2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"of": "klll"}, {"smoothgrad": 0}, {"noise": -1.0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        Gradient(**options)
