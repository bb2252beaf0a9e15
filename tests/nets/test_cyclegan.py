from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.errors import ConfigError
from aberra.nets.cyclegan import Generator, PatchCritic

IMAGE = {"channels": 3, "dims": 2}


def _parameters(module):
    return sum(each.numel() for each in module.parameters())


def test_they_are_as_large_as_the_published_ones():
    with torch.device("meta"):
        assert _parameters(Generator(**IMAGE, size=(256, 256), width=64, blocks=9)) == 11_378_179
        assert _parameters(Generator(**IMAGE, size=(128, 128), width=64, blocks=6)) == 7_837_699
        assert _parameters(PatchCritic(**IMAGE, size=(256, 256), width=64, layers=3)) == 2_764_737


@pytest.mark.parametrize(("layers", "edge"), [(1, 16), (2, 34), (3, 70)])
def test_a_critic_judges_patches(layers, edge):
    critic = PatchCritic(channels=1, dims=2, size=(128, 128), width=2, layers=layers)
    for index, layer in enumerate(critic):
        if isinstance(layer, nn.InstanceNorm2d):  # looks at the whole image
            critic[index] = nn.Identity()
    x = torch.rand(1, 1, 128, 128, requires_grad=True)
    judged = critic(x)
    judged[0, 0, judged.shape[2] // 2, judged.shape[3] // 2].backward()
    seen = x.grad[0, 0].abs() > 0
    assert int(seen.any(dim=0).sum()) == int(seen.any(dim=1).sum()) == edge


@pytest.mark.parametrize(("dims", "size"), [(2, (16, 24)), (3, (16, 16, 20))])
def test_shapes(dims, size):
    x = torch.rand(2, 1, *size)
    image = {"channels": 1, "dims": dims, "size": size}
    assert Generator(**image, width=2, blocks=1)(x).shape == x.shape
    judged = PatchCritic(**image, width=2, layers=2)(x)
    assert judged.shape == (2, 1, *(edge // 4 - 2 for edge in size))


def test_sizes_that_cannot_be():
    with pytest.raises(ConfigError, match="divisible by 4"):
        Generator(**IMAGE, size=(30, 32), width=2, blocks=1)
    with pytest.raises(ConfigError, match="divisible by 4, and 8 or more"):
        Generator(**IMAGE, size=(4, 4), width=2, blocks=1)
    with pytest.raises(ConfigError, match=r"critic_layers=4: .* 48 or more"):
        PatchCritic(**IMAGE, size=(32, 32), width=2, layers=4)
