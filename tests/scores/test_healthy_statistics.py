"""Scores that hold a statistic of a slice against those of healthy ones: typicality, DoSE and
likelihood ratios.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from torch import nn

from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.vae import VAE
from aberra.scores import check_pairing
from aberra.scores.dose import KEPT, DoSE
from aberra.scores.likelihood_ratio import LikelihoodRatio, compressed_bits
from aberra.scores.terms import statistics
from aberra.scores.typicality import Typicality
from aberra.volume import Volume


def _volumes(count=3, depth=8, seed=2):
    generator = np.random.default_rng(seed)
    return [
        Volume(data=generator.random((1, depth, 6, 6), dtype=np.float32), affine=np.eye(4))
        for _ in range(count)
    ]


def _slices(volumes):
    return torch.cat([torch.from_numpy(volume.data[0])[:, None] for volume in volumes])


def test_typicality_is_the_distance_from_the_healthy_mean_on_either_side(linear):
    model, x, mask, run = linear
    found = Typicality(of="elbo").tune(model, iter(_volumes()), run)
    healthy = sum(model.elbo_terms(_slices(_volumes()))).detach()
    assert found == {"expected": pytest.approx(float(healthy.mean()), rel=1e-5)}
    scored = Typicality(of="elbo", **found)(model, x, mask, run).inside(mask).map
    own = sum(model.elbo_terms(x.transpose(0, 1))).detach()
    expected = (own - healthy.mean()).abs()
    torch.testing.assert_close(scored, expected[:, None, None] * mask, rtol=1e-4, atol=1e-4)
    assert Typicality(of="elbo", **found).tune(model, iter(_volumes()), run) == {}


def test_typicality_of_all_slices_together_is_that_of_their_mean(linear):
    model, x, mask, run = linear
    own = sum(model.elbo_terms(x.transpose(0, 1))).detach()
    found = Typicality(of="elbo", together=True, expected=3.0)(model, x, mask, run).map
    torch.testing.assert_close(found, (own.mean() - 3).abs().expand(mask.shape))


def test_dose_is_the_sum_of_log_densities_of_scipy(linear):
    model, _, _, run = linear
    found = DoSE().tune(model, iter(_volumes()), run)
    assert {*found["healthy"]} == {"l1", "kl", "elbo", "entropy"}
    score, inside = DoSE(**found), torch.ones(40, 1, 6, 6)
    asked = statistics(model, torch.rand(40, 1, 6, 6), inside, score.of).detach().double().numpy()
    expected = np.zeros(40)
    for values, name in zip(asked.T, score.of, strict=True):
        known = np.asarray(found["healthy"][name])
        width = known.std() * len(known) ** -0.2
        density = gaussian_kde(known, bw_method=width / known.std(ddof=1))
        expected -= np.log(density(values) * width * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(score.unusual(asked), expected, rtol=1e-6)


def test_dose_ranks_noise_behind_the_healthy_though_kl_alone_does_not(linear):
    model, _, _, run = linear
    healthy = _volumes(20)
    score = DoSE(of=["l1", "kl"], **DoSE(of=["l1", "kl"]).tune(model, iter(healthy), run))

    def unusual(x):
        return score.unusual(statistics(model, x, torch.ones_like(x), score.of).detach())

    blank = torch.zeros(50, 1, 6, 6) + model.offset.detach().reshape(6, 6)  # the code is 0: the least KL
    x = _slices(healthy)
    assert statistics(model, blank, torch.ones_like(blank), ["kl"]).max() < model.elbo_terms(x)[1].min()
    assert unusual(blank).min() > unusual(x).mean()
    assert unusual(3 * torch.randn(50, 1, 6, 6)).min() > unusual(x).max()


def test_dose_keeps_quantiles_where_there_are_many_slices(linear):
    model, _, _, run = linear
    few, many = (
        DoSE(of=["l1"]).tune(model, iter(_volumes(count, 100)), run)["healthy"]["l1"] for count in (1, 9)
    )
    assert (len(few), len(many)) == (100, KEPT)
    assert many == sorted(many)
    assert np.mean(many) == pytest.approx(np.mean(few), rel=0.05)


def test_what_has_not_seen_healthy_cases_says_nothing(linear):
    model, x, mask, run = linear
    for score in (DoSE(), Typicality(), LikelihoodRatio()):
        assert not score.ready
        assert not score(model, x, mask, run).map.any()
        assert score.tune(model, iter(()), run) == {}


class Standard(nn.Module):
    """Pixels with a standard normal density, without its constant."""

    def log_density(self, x):
        return -0.5 * (x**2).flatten(1).sum(dim=1)


@pytest.mark.parametrize("compressor", ["png", "jpeg2000", "jpeg"])
def test_what_is_busy_takes_more_bits(compressor):
    even, busy = torch.full((1, 1, 32, 32), 0.5), torch.rand(1, 1, 32, 32)
    assert compressed_bits(even, (0, 1), compressor) < 0.5 * compressed_bits(busy, (0, 1), compressor)


def test_png_needs_all_bits_of_noise_and_cuts_off_what_is_beyond():
    noise = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    bits = compressed_bits(noise, (0, 1))
    assert (bits / noise[0].numel() > 8).all()
    assert (compressed_bits(noise * 1e6, (-2.0, -1.0)) < 0.1 * bits).all()


def test_complexity_is_taken_from_the_bits_of_the_model():
    run = Runner(dims=2, size=(6, 6))
    x, mask = torch.rand(1, 5, 6, 6), torch.ones(5, 6, 6, dtype=torch.bool)
    free = LikelihoodRatio(of="nll")
    found = free.tune(Standard(), iter(_volumes()), run)
    ratios = free.ratio(Standard(), _slices(_volumes()), found["window"])
    assert found["level"] == pytest.approx(float(ratios.min()))
    score = LikelihoodRatio(of="nll", **found)
    bits = 0.5 * (x[0] ** 2).sum(dim=(1, 2)) / math.log(2) - compressed_bits(
        x.transpose(0, 1), found["window"]
    )
    expected = (bits / 36 - found["level"]).clamp(min=0)
    torch.testing.assert_close(score(Standard(), x, mask, run).map[:, 0, 0], expected)
    assert score.tune(Standard(), iter(_volumes()), run) == {}


def test_a_ratio_to_the_same_model_is_zero(linear):
    model, x, mask, run = linear
    model.background_terms = model.elbo_terms
    score = LikelihoodRatio(against="background", level=0.0)
    assert not score(model, x, mask, run).map.any()


def test_what_they_need_and_refuse():
    with pytest.raises(PairingError, match="needs HasBackground"):
        check_pairing(VAE, LikelihoodRatio(against="background"))
    with pytest.raises(PairingError, match="needs HasDensity"):
        check_pairing(VAE, DoSE(of=["l1", "nll"]))
    for score, options in (
        (DoSE, {"of": []}),
        (DoSE, {"of": ["l1", "l1"]}),
        (DoSE, {"healthy": {"l1": [1.0, 2.0]}}),
        (DoSE, {"of": ["l1"], "healthy": {"l1": [1.0]}}),
        (LikelihoodRatio, {"against": "background", "of": "nll"}),
        (LikelihoodRatio, {"window": [1.0, 1.0]}),
        (Typicality, {"of": "prior"}),
    ):
        with pytest.raises(ConfigError):
            score(**options)
