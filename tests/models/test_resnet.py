from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aberra.capabilities import HasFeatures, Trains
from aberra.errors import ConfigError
from aberra.models.resnet import ResNet
from aberra.nets.photographs import MEAN, STD, as_photographs

SHAPE = {"channels": 1, "size": (64, 64)}


def _model(**options):
    torch.manual_seed(0)
    model = ResNet(**SHAPE | options)
    for name, buffer in model.named_buffers():  # moments that batch norm cannot do without
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_()
    return model.eval()


def _normed(y, state, name):
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    mean, variance, gain, offset = (part.view(-1, 1, 1) for part in parts)
    return (y - mean) / (variance + 1e-5).sqrt() * gain + offset


@pytest.mark.parametrize(("depth", "count", "filters"), [(18, 11_176_512, 64), (50, 23_508_032, 256)])
def test_parameters_and_maps_are_the_publications(depth, count, filters):
    model = _model(depth=depth, resolution=64)
    assert sum(each.numel() for each in model.parameters()) == count
    maps = model.feature_maps(torch.rand(2, 1, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (filters * 2**stage, 16 // 2**stage, 16 // 2**stage) for stage in range(4)
    ]
    assert isinstance(model, HasFeatures)
    assert not isinstance(model, Trains)


def test_names_are_those_of_torchvision():
    names = set(ResNet(**SHAPE, depth=50).state_dict())
    for each in (
        "conv1.weight", "bn1.running_mean", "layer1.0.conv3.weight", "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.running_var", "layer3.5.bn2.bias", "layer4.2.conv1.weight",
    ):  # fmt: skip
        assert each in names
    assert "layer1.1.downsample.0.weight" not in names
    assert "layer1.0.downsample.0.weight" not in ResNet(**SHAPE).state_dict()
    assert len(ResNet(**SHAPE).state_dict()) == 120  # torchvision's 122 but fc's two
    assert len(names) == 318  # 320


@pytest.mark.parametrize("depth", [18, 50])
def test_the_first_two_stages_are_what_their_weights_say(depth):
    model = _model(depth=depth, resolution=0)
    state = model.state_dict()
    x = torch.rand(2, 1, 64, 64)
    y = (x.expand(-1, 3, -1, -1) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    y = F.relu(_normed(F.conv2d(y, state["conv1.weight"], stride=2, padding=3), state, "bn1"))
    y = F.max_pool2d(y, 3, 2, 1)
    strided = {18: 1, 50: 2}[depth]
    for layer, blocks in ((1, {18: 2, 50: 3}[depth]), (2, {18: 2, 50: 4}[depth])):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            stride = 2 if layer == 2 and not block else 1
            inside, through = y, y
            for number in range(1, {18: 2, 50: 3}[depth] + 1):
                weight = state[f"{at}.conv{number}.weight"]
                step = stride if number == strided else 1
                inside = _normed(
                    F.conv2d(inside, weight, stride=step, padding=weight.shape[-1] // 2),
                    state,
                    f"{at}.bn{number}",
                )
                inside = inside if number == {18: 2, 50: 3}[depth] else F.relu(inside)
            if f"{at}.downsample.0.weight" in state:
                through = _normed(
                    F.conv2d(y, state[f"{at}.downsample.0.weight"], stride=stride),
                    state,
                    f"{at}.downsample.1",
                )
            y = F.relu(inside + through)
        torch.testing.assert_close(model.feature_maps(x)[layer - 1], y, rtol=1e-3, atol=1e-3)


def test_each_channel_is_a_photograph_of_its_own():
    x = torch.rand(3, 2, 16, 16)
    photographs = as_photographs(x, (16, 16))
    assert photographs.shape == (6, 3, 16, 16)
    torch.testing.assert_close(photographs[3, 1], (x[1, 1] - MEAN[1]) / STD[1])
    assert as_photographs(torch.ones(1, 1, 8, 8), (20, 20)).std(dim=(2, 3)).abs().max() < 1e-5
    one, both = _model(resolution=32), _model(channels=2, resolution=32)
    both.load_state_dict(one.state_dict())
    maps = both.feature_maps(x)[0]
    torch.testing.assert_close(maps[:, 64:], one.feature_maps(x[:, 1:])[0], rtol=1e-4, atol=1e-4)


def test_volumes_are_refused():
    with pytest.raises(ConfigError, match="resnet sees slices, not volumes"):
        ResNet(channels=1, dims=3, size=(8, 8, 8))
