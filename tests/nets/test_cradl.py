from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError
from aberra.nets.cradl import Decoder, Encoder, stages


@pytest.mark.parametrize(
    ("size", "count"),
    [((128, 128), 5), ((64, 64), 4), ((96, 80), 4), ((32, 48), 3), ((8, 8), 1), ((4, 4), 1)],
)
def test_the_shortest_edge_ends_at_four_to_seven(size, count):
    assert stages(size) == count


def test_an_edge_that_cannot_be_halved_is_refused():
    with pytest.raises(ConfigError, match=r"\(128, 100\): every edge must be divisible by 16"):
        Encoder(channels=1, dims=2, size=(128, 100), width=4)


def test_the_decoder_mirrors_the_encoder():
    shape = {"channels": 1, "dims": 2, "size": (64, 64), "width": 4}
    down = [each for each in Encoder(**shape) if isinstance(each, torch.nn.Conv2d)]
    up = [each for each in Decoder(**shape, latent=8).body if isinstance(each, torch.nn.ConvTranspose2d)]
    assert [(each.in_channels, each.out_channels) for each in down] == [
        (each.out_channels, each.in_channels) for each in reversed(up)
    ]
