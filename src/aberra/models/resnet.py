"""ResNet-18 and ResNet-50, for weights that were learnt elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.photographs import as_photographs
from aberra.options import Dims, Edge, EdgeOrNone, Width, configured

BLOCKS: dict[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class ResNet(nn.Module):
    """Feature maps of a residual network that others have trained, on photographs most likely.

    He, Zhang, Ren, Sun 2016 (arXiv 1512.03385). It has no loss: its weights come
    from ``training.start``, a ``.safetensors`` file with the names that torchvision and timm give
    them (``conv1.weight``, ``layer1.0.bn1.running_mean``; a classifier ``fc`` in it is left out).
    Nothing is downloaded. Each channel of a scan is a grey photograph of its own
    (:func:`aberra.nets.photographs.as_photographs`), and their features lie one behind the other.

    Maps at a quarter, an eighth, a sixteenth and a thirty-second of the resolution (``layer1`` to
    ``layer4``): 64, 128, 256, 512 features of depth 18, four times as many of depth 50. 11,176,512
    parameters, or 23,508,032.

    Args:
        channels: C.
        dims: 2.
        size: spatial shape S of the input.
        depth: 18 or 50.
        resolution: edge that images are enlarged to, 224 in training on photographs; 0 leaves them
            as they are.

    Raises:
        ConfigError: volumes, which it does not see.

    Deviation: strides of depth 50 are in the second convolution of a block, as torchvision has
    them.

    Examples:
        >>> import torch
        >>> from aberra.models.resnet import ResNet
        >>> model = ResNet(channels=2, size=(32, 32), resolution=64).eval()
        >>> [tuple(each.shape) for each in model.feature_maps(torch.rand(1, 2, 32, 32))][:2]
        [(1, 128, 16, 16), (1, 256, 8, 8)]
    """

    name = "resnet"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        depth: Literal[18, 50] = 18,
        resolution: EdgeOrNone = 224,
    ) -> None:
        super().__init__()
        del channels  # each is seen alone
        if dims != 2:
            raise ConfigError(f"model: resnet sees slices, not volumes (dims={dims}); set prepare.dims=2")
        self.resolution = tuple([resolution] * 2 if resolution else size)
        kind = Basic if depth == 18 else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for stage, count in enumerate(BLOCKS[depth]):
            width = 64 * 2**stage
            blocks = []
            for number in range(count):
                blocks.append(kind(before, width, stride=2 if stage and not number else 1))
                before = width * kind.wider
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Shape (B, C, S) to four levels, finest first: (B, C·F, R / 4) to (B, C·F, R / 32), R being
        the resolution.
        """
        y = as_photographs(x, self.resolution)
        y = F.max_pool2d(F.relu(self.bn1(self.conv1(y))), 3, stride=2, padding=1)
        found = []
        for stage in range(4):
            y = self.get_submodule(f"layer{stage + 1}")(y)
            found.append(y.reshape(len(x), -1, *y.shape[2:]))
        return found


class Basic(nn.Module):
    """Two convolutions 3: (B, F, S) to (B, F', S / stride)."""

    wider = 1

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F', S / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """Convolutions 1, 3 and 1, the last four times as wide: (B, F, S) to (B, F', S / stride)."""

    wider = 4

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        after = width * self.wider
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F', S / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    """What is added to a block's answer: its input, brought to the same shape."""
    if stride == 1 and before == after:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
