"""The network of You's Gaussian mixture VAE (2019), as Baur et al. 2021 (arXiv 2004.03271) describe
it.

Six convolutions 3 of 64 filters with strides 2, 1, 1, 2, 1, 1 and ReLU, no normalisation: the code
is a map of a quarter of the image's edge. The decoder mirrors them with nearest-neighbour
upsampling in place of the strides.

Deviation: the decoder's number of convolutions (six, and a linear one to the channels) is the
encoder's; the text gives none. Initial weights are He's: with PyTorch's the signal fades over
twelve layers without norm, and the decoder does not see its code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from aberra.errors import ConfigError
from aberra.nets.unified import Reader, conv

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 64
STRIDES = (2, 1, 1, 2, 1, 1)


class Encoder(Reader):
    """(B, C, S) to (B, F, S / 4).

    Raises:
        ConfigError: an edge is not divisible by 4.
    """

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int = WIDTH) -> None:
        if any(edge % 4 for edge in size):
            raise ConfigError(f"size {tuple(size)}: every edge must be divisible by 4")
        layers: list[nn.Module] = []
        for before, stride in zip([channels, *[width] * 5], STRIDES, strict=True):
            layers += [conv(dims)(before, width, 3, stride=stride, padding=1), nn.ReLU()]
        super().__init__(*layers, features=width)
        self.apply(_he)


class Decoder(nn.Sequential):
    """(B, K, S / 4) to (B, C, S), linear."""

    def __init__(self, *, channels: int, dims: int, latent: int, width: int = WIDTH) -> None:
        layers: list[nn.Module] = []
        for before, stride in zip([latent, *[width] * 5], reversed(STRIDES), strict=True):
            if stride > 1:
                layers.append(nn.Upsample(scale_factor=float(stride)))
            layers += [conv(dims)(before, width, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, conv(dims)(width, channels, 3, padding=1))
        self.apply(_he)


def _he(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
