from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.cevae import CeVAE
from aberra.models.vae import VAE, kl_to_standard_normal


def _pair(**options):
    """A ceVAE and a VAE with the same weights."""
    torch.manual_seed(0)
    sizes = {"channels": 1, "size": (32, 32), "width": 4, "latent": 8, "dropout": 0.0}
    vae_options = {key: value for key, value in options.items() if key in {"masked", "likelihood", "scale"}}
    context, plain = CeVAE(**sizes, **options), VAE(**sizes, **vae_options)
    plain.load_state_dict(context.state_dict())
    return context, plain


def _batch():
    mask = torch.zeros(3, 1, 32, 32)
    mask[..., 6:27, 4:29] = 1
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * mask, mask


def _seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"likelihood": "gaussian", "scale": 0.5}])
def test_factor_zero_is_twice_the_vae(options):
    context, plain = _pair(factor=0.0, **options)
    x, mask = _batch()
    found, expected = context.loss(Batch(x, mask, _seeded())), plain.loss(Batch(x, mask, _seeded()))
    torch.testing.assert_close(found["loss"], 2 * expected["loss"])
    torch.testing.assert_close(found["reconstruction"], 2 * expected["reconstruction"])
    torch.testing.assert_close(found["kl"], expected["kl"])


def test_factor_one_is_a_context_encoder():
    model, _ = _pair(factor=1.0)
    x, mask = _batch()
    found = model.loss(Batch(x, mask, _seeded()))
    found["loss"].backward()
    assert all(not weight.grad.any() for weight in model.log_variance.parameters())
    assert any(weight.grad.any() for weight in model.mean.parameters())
    torch.testing.assert_close(found["loss"], 2 * found["context"])


def test_half_is_the_papers_sum_and_the_context_branch_adds_no_kl():
    model, plain = _pair()
    x, mask = _batch()
    generator = _seeded()
    vae = plain.loss(Batch(x, mask, generator))
    seen = model.noise(x, mask, generator)  # what is drawn after the posterior's noise
    assert (seen != x).any()
    context = (x - plain.decode(plain.encode(seen)[0])).abs().sum() / 3

    found = model.loss(Batch(x, mask, _seeded()))

    torch.testing.assert_close(found["context"], context)
    torch.testing.assert_close(found["loss"], vae["reconstruction"] + vae["kl"] + context)
    torch.testing.assert_close(found["kl"], kl_to_standard_normal(*plain.encode(x)).mean())


def test_validation_sees_whole_images():
    model, _ = _pair()
    model.eval()
    x, mask = _batch()
    expected = (x - model.reconstruct(x)).abs().sum() / 3
    torch.testing.assert_close(model.loss(Batch(x, mask, _seeded()))["context"], expected)


def test_the_masked_loss_masks_both_branches():
    model, _ = _pair(masked=True)
    x, mask = _batch()
    before = model.loss(Batch(x, mask, _seeded()))
    decode = model.decode
    model.decode = lambda z: decode(z) + 100 * (1 - mask)
    after = model.loss(Batch(x, mask, _seeded()))
    torch.testing.assert_close(after["reconstruction"], before["reconstruction"])


def test_it_answers_what_a_vae_answers_and_draws_zimmerers_noise_in_three_dimensions():
    torch.manual_seed(0)
    model = CeVAE(
        channels=2,
        dims=3,
        size=(16, 32, 16),
        width=4,
        latent=8,
        fill="random",
        place="anywhere",
        smallest=0.0,
        largest=0.5,
    )
    x = torch.rand(2, 2, 16, 32, 16)
    assert model.loss(Batch(x, torch.ones(2, 1, 16, 32, 16), _seeded()))["loss"].isfinite()
    model.eval()
    assert model.reconstruct(x).shape == x.shape
    assert len(list(model.sample_reconstructions(x, 2))) == 2
    assert [each.shape for each in model.elbo_terms(x)] == [(2,), (2,)]


def test_parameters_and_refusals():
    full = CeVAE(channels=1, size=(128, 128))
    assert sum(each.numel() for each in full.parameters()) == 1_758_449
    with pytest.raises(ConfigError, match=r"factor=1\.5"):
        CeVAE(channels=1, size=(32, 32), factor=1.5)
