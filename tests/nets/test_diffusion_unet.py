from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError
from aberra.nets.diffusion_unet import DiffusionEncoder, DiffusionUNet


def _count(model):
    return sum(weight.numel() for weight in model.parameters())


FACE = {"size": (128, 128), "multipliers": (1, 1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("cls", "options", "expected"),
    [
        (DiffusionUNet, {"channels": 4, "out": 8, "size": (256, 256), "classes": 2}, 113_681_160),
        (DiffusionUNet, {"channels": 5, "out": 2, "size": (256, 256)}, 113_674_370),
        (DiffusionUNet, {"channels": 4, "out": 1, "size": (256, 256)}, 113_672_065),
        (DiffusionUNet, {"channels": 3, "out": 6} | FACE, 85_606_150),
        (DiffusionEncoder, {"channels": 4, "out": 2, "size": (256, 256)}, 5_452_962),
        (DiffusionEncoder, {"channels": 4, "out": 1, "size": (256, 256)}, 5_452_833),
        (DiffusionEncoder, {"channels": 3, "out": 1, "width": 128} | FACE, 67_061_121),
    ],
)
def test_the_thesis_parameter_counts_to_the_digit(cls, options, expected):
    with torch.device("meta"):
        assert _count(cls(**options)) == expected


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 16)), (3, (8, 16, 8))])
def test_shapes_in_two_and_three_dimensions(dims, size):
    options = {
        "dims": dims,
        "size": size,
        "width": 8,
        "multipliers": (1, 2, 2),
        "blocks": 1,
        "attention": (4,),
    }
    x, t = torch.randn(3, 2, *size), torch.tensor([1, 10, 1000])
    unet = DiffusionUNet(channels=2, out=4, classes=2, **options)
    assert unet(x, t, torch.tensor([0, 1, -1])).shape == (3, 4, *size)
    levels = unet.features(x, t)
    assert [each.shape[2] for each in levels] == [size[0], size[0] // 2, size[0] // 4]
    assert DiffusionEncoder(channels=2, out=5, **options)(x, t).shape == (3, 5)


@pytest.mark.parametrize("width", [8, 16, 32, 128])
def test_step_and_class_matter_at_every_width_and_no_class_is_none(width):
    torch.manual_seed(0)
    unet = DiffusionUNet(
        channels=1, out=1, size=(16, 16), width=width, multipliers=(1, 2), blocks=1, classes=2
    )
    for weight in unet.parameters():  # nothing is zero, as after training
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    x, one = torch.randn(1, 1, 16, 16), torch.tensor([1])
    plain = unet(x, one)
    for other in (unet(x, torch.tensor([500])), unet(x, one, torch.tensor([1]))):
        assert (other - plain).std() > 0.01 * plain.std()
    torch.testing.assert_close(unet(x, one, torch.tensor([-1])), plain)


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(ConfigError, match="divisible by 4"):
        DiffusionUNet(channels=1, out=1, size=(30, 32), width=8, multipliers=(1, 1, 1))
    with pytest.raises(ConfigError, match="even"):
        DiffusionEncoder(channels=1, out=1, size=(32, 32), width=7, multipliers=(1, 1))
