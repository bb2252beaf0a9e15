from __future__ import annotations

import torch

from aberra.batch import Batch
from aberra.models.scale_space_ae import ScaleSpaceAE
from aberra.models.scale_space_vae import ScaleSpaceVAE
from aberra.nets.pyramid import bands, gaussian_pyramid

SMALL = {"channels": 1, "size": (32, 32), "width": 4, "levels": 2}


def _parameters(model):
    return sum(each.numel() for each in model.parameters())


def test_each_band_has_one_head_more_than_the_autoencoders():
    """Variances of 4 numbers from 128 filters in each of four bands, but from 64 in the coarsest."""
    plain, model = (cls(channels=1, size=(128, 128)) for cls in (ScaleSpaceAE, ScaleSpaceVAE))
    heads = 3 * (128 * 4 + 4) + (64 * 4 + 4)
    assert _parameters(model) == _parameters(plain) + heads == 1_524_516


def test_in_use_the_means_are_decoded_as_by_the_autoencoder():
    torch.manual_seed(0)
    model, plain = ScaleSpaceVAE(**SMALL).eval(), ScaleSpaceAE(**SMALL).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if "log_var" not in key})
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(model.reconstruct(x), plain.reconstruct(x))


def test_the_loss_is_the_autoencoders_and_the_kl_of_every_band():
    torch.manual_seed(0)
    model = ScaleSpaceVAE(**SMALL, kl_weight=0.3).eval()
    for head in model.log_variances:  # no spread: the sample is the mean
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, -60.0)
    x = torch.rand(3, 1, 32, 32)
    batch = Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0))
    posteriors = model.posteriors(bands(gaussian_pyramid(x, 2)))
    assert len(posteriors) == 3
    by_hand = sum(0.5 * (mean**2 + spread.exp() - spread - 1).sum() / 3 for mean, spread in posteriors)
    found, plain = model.loss(batch), ScaleSpaceAE.loss(model, batch)
    torch.testing.assert_close(found["kl"], by_hand)
    torch.testing.assert_close(found["reconstruction"], plain["reconstruction"])
    torch.testing.assert_close(found["loss"], plain["loss"] + 0.3 * found["kl"])
    for head in model.log_variances:
        torch.nn.init.constant_(head.bias, 0.0)
    assert model.loss(batch)["reconstruction"] != plain["reconstruction"]


def test_without_weight_a_kl_that_overflows_does_not_reach_the_loss():
    model = ScaleSpaceVAE(**SMALL, kl_weight=0.0).eval()
    for head in model.log_variances:
        torch.nn.init.constant_(head.bias, 100.0)  # its exponential is infinite in float32
    x = torch.rand(2, 1, 32, 32)
    found = model.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0)))
    assert found["kl"].isinf()
    assert found["loss"].isfinite()
