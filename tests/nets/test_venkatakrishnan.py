from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.models.vae import VAE
from aberra.nets.venkatakrishnan import Half, inner_size, widths

NET = {"name": "venkatakrishnan"}


def _count(module, *, weights=False):
    return sum(each.numel() for each in module.parameters() if not weights or each.ndim == 4)


def test_layers_and_parameters_are_those_of_the_thesis():
    model = VAE(channels=1, size=(128, 128), network=NET, latent=256).eval()
    sizes, x = [], torch.rand(1, 1, 128, 128)
    for layer in model.encoder:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            sizes.append((*x.shape[1:],))
    assert sizes == [(16, 64, 64), (32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert isinstance(model.encoder[-1], nn.Conv2d)  # what makes the code has no norm and no activation
    assert [part.shape for part in model.encode(torch.rand(1, 1, 128, 128))] == [(1, 256, 2, 2)] * 2
    channels = [layer.out_channels for layer in model.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert channels == [256, 128, 64, 32, 16, 1]
    assert _count(model.encoder, weights=True) == 2_793_728
    assert _count(model.encoder) == 2_795_728
    assert _count(model.decoder) == 1_746_641
    assert _count(model) == 4_542_369
    assert _count(AE(channels=1, size=(128, 128), network=NET)) == 5_590_945


def test_mean_and_log_variance_are_the_halves_of_the_features():
    x = torch.rand(2, 6, 2, 2)
    assert torch.equal(torch.cat([Half(0)(x), Half(1)(x)], dim=1), x)
    with pytest.raises(
        ConfigError, match=r"model\.latent=128: network venkatakrishnan splits its 512 .* 256"
    ):
        VAE(channels=1, size=(64, 64), network=NET, latent=128)


@pytest.mark.parametrize(
    ("size", "filters", "inner"),
    [
        ((128, 128), [16, 32, 64, 128, 256, 512], (2, 2)),
        ((32, 48), [64, 128, 256, 512], (2, 3)),
        ((16, 16, 32), [128, 256, 512], (2, 2, 4)),
        ((256, 256), [8, 16, 32, 64, 128, 256, 512], (2, 2)),
        ((4, 4), [512], (2, 2)),
    ],
)
def test_other_sizes_have_as_many_blocks_as_leave_an_edge_of_two(size, filters, inner):
    assert widths(16, size) == filters
    assert inner_size(size) == inner


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (32, 40)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(ConfigError, match="divisible"):
        widths(16, size)


def test_a_sigmoid_bounds_the_image_and_a_linear_output_does_not():
    codes = 50 * torch.randn(2, 16, 2, 2)
    torch.manual_seed(0)
    for output, bounded in (("sigmoid", True), ("linear", False)):
        options = {"network": NET | {"width": 1, "output": output}, "latent": 16}
        decoded = VAE(channels=1, size=(32, 32), **options).decode(codes)
        assert (decoded.min() >= 0 and decoded.max() <= 1) == bounded
