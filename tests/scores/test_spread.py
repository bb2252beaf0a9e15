from __future__ import annotations

import pytest
import torch

from aberra.capabilities import Denoises, SamplesReconstructions
from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.restore.partial_diffusion import Chain
from aberra.scores.spread import Spread


def _spread(count, of="variance"):
    return Spread(of=of, restore={"name": "draws", "draws": count})


def test_variance_and_deviation_are_those_of_the_draws(linear):
    model, x, mask, run = linear
    with torch.no_grad():
        draws = torch.stack(list(model.sample_reconstructions(x.transpose(0, 1), 7)))[:, :, 0]
    found = _spread(7)(model, x, mask, run).inside(mask)
    torch.testing.assert_close(found.map, draws.var(dim=0, correction=0) * mask, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.reconstruction[0], draws.mean(dim=0) * mask)
    deviation = _spread(7, of="std")(model, x, mask, run).inside(mask)
    torch.testing.assert_close(deviation.map**2, found.map)


def test_many_draws_have_the_posteriors_spread(linear):
    """Var(W z) = σ² Σ_k W_ik²."""
    model, x, mask, run = linear
    found = _spread(4000)(model, x, mask, run).map
    expected = (model.sigma**2 * (model.decoder**2).sum(dim=1)).reshape(6, 6).detach()
    torch.testing.assert_close(found[0], expected, atol=0.0, rtol=0.1)


def test_versions_by_partial_diffusion_have_the_spread_of_its_chains(brain):
    model, x, mask, run = brain
    score = Spread(
        of="variance", restore={"name": "partial-diffusion", "steps": 5, "draws": 4, "average": False}
    )
    assert score.needs == (Denoises,)
    draws = torch.stack([Chain(250, 5, "ddpm")(model, x.transpose(0, 1), draw) for draw in range(4)])
    found = score(model, x, mask, run).map
    torch.testing.assert_close(found, draws.var(dim=0, correction=0)[:, 0])
    assert found.min() > 0


def test_dropout_draws_differ_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    x, mask = torch.rand(1, 5, 32, 32), torch.ones(5, 32, 32, dtype=torch.bool)
    model = AE(channels=1, size=(32, 32), network={"width": 4, "dropout": 0.5}, latent=8).eval()
    one, five = (
        _spread(4)(model, x, mask, Runner(dims=2, size=(32, 32), batch_size=count)).map for count in (1, 5)
    )
    torch.testing.assert_close(one, five, atol=1e-5, rtol=1e-3)
    assert one.max() > 0
    before = model.reconstruct(x.transpose(0, 1))
    torch.testing.assert_close(model.reconstruct(x.transpose(0, 1)), before)  # dropout is off again
    still = AE(channels=1, size=(32, 32), network={"width": 4, "dropout": 0.0}, latent=4).eval()
    assert _spread(3)(still, x, mask, Runner(dims=2, size=(32, 32))).map.max() < 1e-9


def test_what_it_needs_and_refuses():
    assert Spread().needs == (SamplesReconstructions,)
    for options in (
        {"of": "mean"},
        {"restore": {"name": "draws", "draws": 1}},
        {"restore": {"name": "draws", "average": True}},
        {"restore": {"name": "reconstruct"}},
    ):
        with pytest.raises(ConfigError):
            Spread(**options)
