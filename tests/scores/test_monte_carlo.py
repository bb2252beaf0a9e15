from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.scores.monte_carlo import MonteCarlo
from aberra.scores.residual import Residual


def _draws(model, x, count):
    with torch.no_grad():
        return torch.stack(list(model.sample_reconstructions(x.transpose(0, 1), count)))[:, :, 0]


def test_residual_variance_and_deviation_are_those_of_the_draws(linear):
    model, x, mask, run = linear
    draws = _draws(model, x, 7)
    mean = MonteCarlo(draws=7)(model, x, mask, run)
    torch.testing.assert_close(mean.map, (x[0] - draws).abs().mean(dim=0) * mask)
    torch.testing.assert_close(mean.reconstruction[0], draws.mean(dim=0) * mask)
    bright = MonteCarlo(draws=7, mode="positive")(model, x, mask, run).map
    torch.testing.assert_close(bright, (x[0] - draws).clamp(min=0).mean(dim=0) * mask)
    variance = MonteCarlo(draws=7, of="variance")(model, x, mask, run).map
    torch.testing.assert_close(variance, draws.var(dim=0, correction=0) * mask, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(MonteCarlo(draws=7, of="std")(model, x, mask, run).map ** 2, variance)


def test_many_draws_have_the_posteriors_spread(linear):
    """Var(W z) = σ² Σ_k W_ik²."""
    model, x, mask, run = linear
    found = MonteCarlo(draws=4000, of="variance")(model, x, mask, run).map
    expected = (model.sigma**2 * (model.decoder**2).sum(dim=1)).reshape(6, 6).detach()
    torch.testing.assert_close(found[0], expected * mask[0], atol=0.0, rtol=0.1)


def test_a_model_without_dropout_has_no_spread_and_the_plain_residual():
    torch.manual_seed(0)
    model = AE(channels=1, size=(32, 32), width=4, latent=4, dropout=0.0).eval()
    x, mask, run = (
        torch.rand(1, 3, 32, 32),
        torch.ones(3, 32, 32, dtype=torch.bool),
        Runner(dims=2, size=(32, 32)),
    )
    torch.testing.assert_close(
        MonteCarlo(draws=3)(model, x, mask, run).map, Residual()(model, x, mask, run).map
    )
    assert MonteCarlo(draws=3, of="variance")(model, x, mask, run).map.max() < 1e-9


def test_dropout_draws_differ_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    model = AE(channels=1, size=(32, 32), width=4, latent=8, dropout=0.5).eval()
    x, mask = torch.rand(1, 5, 32, 32), torch.ones(5, 32, 32, dtype=torch.bool)
    one, five = (
        MonteCarlo(draws=4, of="variance")(model, x, mask, Runner(dims=2, size=(32, 32), batch_size=n)).map
        for n in (1, 5)
    )
    torch.testing.assert_close(one, five, atol=1e-5, rtol=1e-3)
    assert one.max() > 0
    before = model.reconstruct(x.transpose(0, 1))
    torch.testing.assert_close(model.reconstruct(x.transpose(0, 1)), before)  # dropout is off again


@pytest.mark.parametrize(
    "options", [{"of": "mean"}, {"draws": 0}, {"draws": 1, "of": "std"}, {"mode": "ssim"}]
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        MonteCarlo(**options)
