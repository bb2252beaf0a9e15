from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.beta_tc_vae import BetaTCVAE, kl_parts
from aberra.models.vae import VAE, kl_to_standard_normal


def _codes(count=64, latent=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = (torch.randn(count, latent, generator=generator) for _ in range(2))
    noise = torch.randn(count, latent, generator=generator)
    return mean + noise * torch.exp(0.5 * log_variance), mean, log_variance


def test_the_parts_sum_to_the_sampled_kl():
    z, mean, log_variance = _codes()
    prior, own = torch.distributions.Normal(0, 1), torch.distributions.Normal(mean, log_variance.exp().sqrt())
    expected = (own.log_prob(z) - prior.log_prob(z)).sum(dim=1).mean()
    torch.testing.assert_close(torch.stack(kl_parts(z, mean, log_variance)).sum(), expected)


def test_many_samples_of_the_sum_come_near_the_closed_form():
    z, mean, log_variance = _codes(3000)
    closed = kl_to_standard_normal(mean, log_variance).mean()
    assert float(torch.stack(kl_parts(z, mean, log_variance)).sum()) == pytest.approx(float(closed), rel=0.03)


def test_codes_that_say_nothing_have_no_information_and_no_correlation():
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    parts = torch.stack(kl_parts(z, torch.zeros(50, 4), torch.zeros(50, 4)))
    torch.testing.assert_close(parts, torch.zeros(3), atol=1e-5, rtol=0)


def test_codes_that_say_which_image_it_is_have_all_information():
    mean = 100.0 * torch.arange(16.0)[:, None]
    information, correlation, _ = kl_parts(mean, mean, torch.zeros(16, 1))
    assert float(information) == pytest.approx(torch.tensor(16.0).log().item())
    assert float(correlation) == pytest.approx(0, abs=1e-5)  # of one code there is none


def test_a_code_that_repeats_another_is_correlated_with_it():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 500, 1, generator=generator)
    noise, narrow = 0.1 * torch.randn(500, 2, generator=generator), torch.full((500, 2), 0.01).log()
    apart, twice = torch.cat([one, other], dim=1), torch.cat([one, one], dim=1)
    found = [float(kl_parts(mean + noise, mean, narrow)[1]) for mean in (apart, twice)]
    assert found[1] > found[0] + 0.5


def test_with_weights_of_1_it_is_a_vae_with_a_sampled_kl():
    torch.manual_seed(0)
    options = {"channels": 1, "size": (16, 16), "latent": 4, "network": {"width": 4}, "kl_weight": 0.7}
    model = BetaTCVAE(**options, total_correlation=1.0).eval()
    plain = VAE(**options).eval()
    plain.load_state_dict(model.state_dict())
    x = torch.rand(6, 1, 16, 16)

    def losses(each):
        return each.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(3)))

    found, expected = losses(model), losses(plain)
    torch.testing.assert_close(found["reconstruction"], expected["reconstruction"])
    torch.testing.assert_close(found["loss"], found["reconstruction"] + 0.7 * found["kl"])


def test_the_total_correlation_alone_has_the_weight():
    torch.manual_seed(0)
    model = BetaTCVAE(channels=1, size=(16, 16), latent=4, network={"width": 4}, total_correlation=5.0).eval()
    x = torch.rand(6, 1, 16, 16)
    found = model.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(3)))
    expected = found["reconstruction"] + found["kl"] + 4 * found["total_correlation"]
    torch.testing.assert_close(found["loss"], expected)


def test_parameters_and_refusals():
    with torch.device("meta"):
        model = BetaTCVAE(channels=1, size=(128, 128))
    assert sum(weight.numel() for weight in model.parameters()) == 1_758_449
    with pytest.raises(ConfigError):
        BetaTCVAE(channels=1, size=(16, 16), total_correlation=-1.0)
