from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from aberra.errors import ConfigError
from aberra.nets.unet import UNet
from aberra.nets.unified import Decoder, Encoder, inner_size, stages


@pytest.mark.parametrize(
    ("size", "count", "inner"),
    [
        ((128, 128), 4, (8, 8)),
        ((256, 256), 5, (8, 8)),
        ((64, 64), 3, (8, 8)),
        ((32, 48), 3, (4, 6)),
        ((48, 64, 48), 3, (6, 8, 6)),
        ((160, 192), 4, (10, 12)),
    ],
)
def test_the_grid_is_halved_until_the_smallest_edge_is_eight_to_fifteen(size, count, inner):
    assert stages(size) == count
    assert inner_size(size) == inner


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ConfigError, match="divisible by 8"):
        stages((36, 36))
    with pytest.raises(ConfigError, match=r"\(20, 24\).*divisible by 8"):
        UNet(channels=1, dims=2, size=(20, 24), width=4, depth=3)


def test_filters_are_those_of_the_study():
    encoder = Encoder(channels=1, dims=2, size=(128, 128), width=32)
    decoder = Decoder(channels=1, dims=2, size=(128, 128), width=32, filters=encoder.features)
    down = [layer for layer in encoder if isinstance(layer, torch.nn.Conv2d)]
    up = [layer for layer in decoder if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in down] == [32, 64, 128, 128]
    assert [layer.out_channels for layer in up] == [128, 64, 32, 32]
    assert {layer.kernel_size for layer in [*down, *up]} == {(5, 5)}
    assert {layer.negative_slope for layer in encoder if isinstance(layer, torch.nn.LeakyReLU)} == {0.3}


def test_the_u_net_has_the_papers_layers():
    """Counted by hand at the paper's width 64 and depth 4: two 3×3 convolutions and group norms a
    level, skips concatenated.
    """

    def block(before, after):
        return 9 * before * after + 9 * after * after + 4 * after

    widths = [64, 128, 256, 512, 1024]
    down = sum(block(i, o) for i, o in zip([1, *widths], widths, strict=False))
    up = sum(block(low + high, high) for high, low in pairwise(widths))
    net = UNet(channels=1, dims=2, size=(128, 128), width=64, depth=4)
    assert sum(weight.numel() for weight in net.parameters()) == down + up + 64 + 1


def test_the_u_net_keeps_detail_through_its_skips():
    """With the way through the depth cut off, the output still depends on every pixel."""
    net = UNet(channels=1, dims=2, size=(16, 16), width=4, depth=2)
    for block in net.down[1:]:
        for weight in block.parameters():
            torch.nn.init.zeros_(weight)
    x = torch.rand(1, 1, 16, 16, requires_grad=True)
    net(x).square().sum().backward()
    assert (x.grad != 0).all()
