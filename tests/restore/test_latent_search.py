from __future__ import annotations

import pytest
import torch

from aberra.capabilities import Generates
from aberra.errors import ConfigError, PairingError
from aberra.models.vae import VAE
from aberra.restore.latent_search import LatentSearch
from aberra.scores import check_pairing


class Critical(torch.nn.Module):
    """A linear generator with a critic whose features are the image's mean and maximum."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def generate(self, z):
        return self.inner.generate(z)

    def latent_shape(self):
        return self.inner.latent_shape()

    def features(self, x):
        return torch.stack([x.flatten(1).mean(dim=1), x.flatten(1).amax(dim=1)], dim=1)


def test_an_image_that_the_generator_makes_is_found(linear):
    model, _, _, _ = linear
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    x = model.generate(z).detach()
    (found,) = LatentSearch(feature_weight=0.0, steps=800)(model, x)
    start = (x - model.generate(torch.zeros(5, 3)).detach()).abs()
    assert float((x - found.image).abs().max()) < 0.1 * float(start.max())
    assert all(each.grad is None for each in model.parameters())


def test_features_pull_where_the_critic_looks(linear):
    inner, x, _, _ = linear
    model, batch = Critical(inner), x.transpose(0, 1)
    plain, matched = (
        LatentSearch(feature_weight=weight, steps=300).nearest(model, batch) for weight in (0.0, 0.9)
    )
    apart = [(model.features(batch) - model.features(each)).abs().mean() for each in (plain, matched)]
    assert apart[1] < apart[0]


def test_the_batch_does_not_change_the_version(linear):
    model, x, _, _ = linear
    batch, restore = x.transpose(0, 1), LatentSearch(feature_weight=0.0, steps=20)
    alone = torch.cat([restore.nearest(model, each) for each in batch.split(1)])
    torch.testing.assert_close(restore.nearest(model, batch), alone, atol=1e-6, rtol=1e-5)


def test_what_it_needs_and_refuses():
    with pytest.raises(PairingError, match="Generates"):
        check_pairing(VAE, LatentSearch())
    assert LatentSearch(feature_weight=0.0).needs == (Generates,)
    for options in ({"steps": 0}, {"rate": 0.0}, {"feature_weight": 2.0}):
        with pytest.raises(ConfigError):
            LatentSearch(**options)
