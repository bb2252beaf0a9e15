from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError, MismatchError
from aberra.models.ae import AE
from aberra.models.dae import DAE
from aberra.models.intensity import Intensity
from aberra.models.random import Random
from aberra.models.vae import VAE, kl_to_standard_normal
from aberra.models.zmap import ZMap
from aberra.nets.unified import stages
from aberra.volume import Volume


def _parameters(model):
    return sum(weight.numel() for weight in model.parameters())


def _conv(i, o, k):
    return i * o * k * k + o


def test_the_unified_network_has_the_studys_layers():
    """Counted by hand from Fig. 4 and the public code: 5×5 convolutions 1-32-64-128-128, batch norm
    after each.
    """
    encoder = (
        _conv(1, 32, 5)
        + _conv(32, 64, 5)
        + _conv(64, 128, 5)
        + _conv(128, 128, 5)
        + 2 * (32 + 64 + 128 + 128)
    )
    decoder = 2 * 128 + _conv(128, 128, 5) + _conv(128, 64, 5) + _conv(64, 32, 5) + _conv(32, 32, 5)
    decoder += 2 * (128 + 64 + 32 + 32) + _conv(32, 1, 1)
    squeeze, expand = _conv(128, 16, 1), _conv(16, 128, 1)
    code, heads = 1024 * 128 + 128, 128 * 1024 + 1024
    assert _parameters(AE(channels=1, size=(128, 128), network="unified-spatial")) == encoder + decoder
    assert _parameters(AE(channels=1, size=(128, 128))) == encoder + decoder + squeeze + expand + code + heads
    assert (
        _parameters(VAE(channels=1, size=(128, 128)))
        == encoder + decoder + squeeze + expand + 2 * code + heads
    )
    assert stages((128, 128)) == 4
    spatial = AE(channels=1, size=(128, 128), network="unified-spatial")
    assert spatial.code(torch.zeros(2, 1, 128, 128)).shape == (2, 128, 8, 8)


@pytest.mark.parametrize("cls", [AE, VAE, DAE])
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_shapes_in_two_and_three_dimensions(cls, dims, size):
    options = {"network": {"width": 4, "depth": 2}} if cls is DAE else {"network": {"width": 4}, "latent": 8}
    model = cls(channels=2, dims=dims, size=size, **options).eval()
    x = torch.rand(3, 2, *size)
    assert model.reconstruct(x).shape == x.shape
    losses = model.loss(Batch(x, torch.ones(3, 1, *size), torch.Generator().manual_seed(0)))
    assert losses["loss"].ndim == 0


def test_losses_are_sums_over_pixels_and_means_over_the_batch():
    model = AE(channels=1, size=(32, 32), network={"width": 4}, latent=8).eval()
    x = torch.rand(4, 1, 32, 32)
    expected = (model.reconstruct(x) - x).abs().sum() / 4
    torch.testing.assert_close(model.loss(Batch(x, x, torch.Generator()))["loss"], expected)


def test_kl_matches_its_closed_form():
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)
    assert not kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).any()


def test_the_vae_reconstructs_from_the_mean():
    model = VAE(channels=1, size=(32, 32), network={"width": 4}, latent=8).eval()
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x)[0]))


def test_dae_noise_is_coarse_zero_mean_and_only_in_the_foreground():
    model = DAE(channels=1, size=(64, 64), network={"width": 4, "depth": 1}, noise_std=0.2, noise_cells=8)
    x = torch.zeros(64, 1, 64, 64)
    noise = model.noise(x, torch.Generator().manual_seed(0))
    assert abs(float(noise.mean())) < 0.01
    step = (noise[..., 1:] - noise[..., :-1]).abs().mean()
    assert step < 0.25 * noise.abs().mean() * 8 / 2  # neighbours in a cell of 8 pixels are alike
    again = model.noise(x, torch.Generator().manual_seed(0))
    assert torch.equal(noise, again)
    seen = {}
    model.net.register_forward_pre_hook(lambda _, arguments: seen.update(x=arguments[0]))
    mask = torch.zeros(64, 1, 64, 64)
    mask[..., 20:40] = 1
    model.loss(Batch(x, mask, torch.Generator().manual_seed(0)))
    assert (seen["x"][..., :20] == 0).all()
    assert (seen["x"][..., 20:40] != 0).any()


def test_zmap_is_the_voxelwise_z_score():
    rng = np.random.default_rng(0)
    volumes = [
        Volume(data=rng.normal(10, 2, (1, 4, 5, 6)), affine=np.eye(4), mask=np.ones((4, 5, 6), bool))
        for _ in range(200)
    ]
    model = ZMap(channels=1, size=(4, 5, 6), floor=0.0)
    model.fit(volumes)
    stack = np.stack([volume.data[0] for volume in volumes]).astype(np.float64)
    np.testing.assert_allclose(model.mean[0], stack.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(model.std[0], stack.std(axis=0, ddof=1), rtol=1e-4)
    x = torch.tensor(volumes[0].data)
    expected = np.abs(volumes[0].data[0] - stack.mean(axis=0)) / stack.std(axis=0, ddof=1)
    np.testing.assert_allclose(
        model.score_volume(x, torch.ones(4, 5, 6, dtype=torch.bool)), expected, rtol=1e-3
    )
    with pytest.raises(MismatchError, match="common grid"):
        model.score_volume(torch.zeros(1, 4, 5, 7), torch.ones(4, 5, 7))


def test_controls_and_polarity():
    x, mask = torch.rand(1, 3, 4, 5), torch.ones(3, 4, 5, dtype=torch.bool)
    assert torch.equal(Random(seed=1).score_volume(x, mask), Random(seed=1).score_volume(x, mask))
    torch.testing.assert_close(Intensity(polarity="dark").score_volume(x, mask), 1 - x[0])
    with pytest.raises(ConfigError, match="Did you mean 'bright'"):
        Intensity(polarity="brigth")
    with pytest.raises(ConfigError, match="divisible"):
        DAE(channels=1, size=(36, 36), network={"depth": 4})
