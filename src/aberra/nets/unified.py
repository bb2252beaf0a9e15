"""The unified encoder and decoder of the comparative study (Baur et al. 2021, arXiv 2004.03271,
Fig. 4).

Deviation: "same" padding is two pixels on both sides, where TensorFlow pads one before and two
after (the mirror image of the same sampling); batch norm and initial weights are PyTorch's defaults
instead of Keras's.
"""

from __future__ import annotations

from math import log2, prod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.dropout import MCDropout

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOPE = 0.3
"""LeakyReLU's negative slope: the default of Keras, which the study's code relies on."""

INTERMEDIATE = 8
"""Edge of the innermost feature map at the study's resolution."""

BOTTLENECK = 16
"""Channels that the dense bottleneck squeezes the feature map to before it is flattened."""


def conv(dims: int) -> type[nn.Conv2d | nn.Conv3d]:
    """Return the convolution class for 2-D or 3-D input."""
    return nn.Conv2d if dims == 2 else nn.Conv3d


def stages(size: Sequence[int]) -> int:
    """How often the grid is halved: log2(128 / 8) = 4 at 128².

    The smallest edge ends at 8 to 15 (4 to 7 where it is below 64).

    Raises:
        ConfigError: an edge is not divisible that often.
    """
    smallest = min(size)
    target = INTERMEDIATE if smallest >= 8 * INTERMEDIATE else INTERMEDIATE // 2
    count = max(1, int(log2(smallest / target)))
    if any(edge % 2**count for edge in size):
        raise ConfigError(
            f"size {tuple(size)}: every edge must be divisible by {2**count}; choose multiples of 16 or 32"
        )
    return count


def widths(width: int, size: Sequence[int]) -> list[int]:
    """Filters of the encoder's stages: 32, 64, 128, 128 at 128²."""
    return [min(4 * width, width * 2**stage) for stage in range(stages(size))]


class Reader(nn.Sequential):
    """Layers that read an image: (B, C, S) to (B, ``features``), or to a map of so many channels."""

    def __init__(self, *layers: nn.Module, features: int) -> None:
        super().__init__(*layers)
        self.features = features

    def maps(self, x: Tensor) -> list[Tensor]:
        """What the layers make of (B, C, S) on the way, the last map at each resolution below the
        image's, finest first: (B, F, S'); none where there are vectors only.
        """
        found: list[Tensor] = []
        _walk(self, x, x, found)
        return found


def _walk(layers: nn.Sequential, image: Tensor, x: Tensor, found: list[Tensor]) -> Tensor:
    """Apply layers one by one, and keep the maps; sequences among them are walked through, too."""
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            x = _walk(layer, image, x, found)
            continue
        x = layer(x)
        if x.ndim == image.ndim and x.shape[2:] != image.shape[2:]:
            if found and found[-1].shape[2:] == x.shape[2:]:
                found.pop()
            found.append(x)
    return x


class Encoder(Reader):
    """Convolutions 5 with stride 2, norm, LeakyReLU: (B, C, S) to (B, F, S / 2ⁿ), F = min(4·width,
    …).

    ``norm`` is ``batch``, or ``layer`` in the study's GAN variants.
    """

    def __init__(
        self, *, channels: int, dims: int, size: Sequence[int], width: int, norm: str = "batch"
    ) -> None:
        layers: list[nn.Module] = []
        filters = channels
        for wider in widths(width, size):
            layers += [
                conv(dims)(filters, wider, 5, stride=2, padding=2),
                normaliser(norm, dims, wider),
                nn.LeakyReLU(SLOPE),
            ]
            filters = wider
        super().__init__(*layers, features=filters)


class Decoder(nn.Sequential):
    """Norm, ReLU, transposed convolutions 5 with stride 2, norm, LeakyReLU, convolution 1: back to
    (B, C, S), linear.
    """

    def __init__(
        self,
        *,
        channels: int,
        dims: int,
        size: Sequence[int],
        width: int,
        filters: int,
        norm: str = "batch",
    ) -> None:
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        layers: list[nn.Module] = [normaliser(norm, dims, filters), nn.ReLU()]
        for stage in range(stages(size)):
            narrower = max(width, 4 * width // 2**stage)
            layers += [
                up(filters, narrower, 5, stride=2, padding=2, output_padding=1),
                normaliser(norm, dims, narrower),
                nn.LeakyReLU(SLOPE),
            ]
            filters = narrower
        layers.append(conv(dims)(filters, channels, 1))
        super().__init__(*layers)


class Squeeze(nn.Module):
    """Convolution 1 to 16 channels and flatten: (B, F, S') to (B, 16·S')."""

    def __init__(self, *, dims: int, filters: int, inner: Sequence[int]) -> None:
        super().__init__()
        self.conv = conv(dims)(filters, BOTTLENECK, 1)
        self.features = BOTTLENECK * prod(inner)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S') to (B, 16·S')."""
        flat: Tensor = self.conv(x).flatten(1)
        return flat


class Expand(nn.Module):
    """Dense, dropout, reshape, convolution 1: (B, K) to (B, F, S')."""

    def __init__(self, *, dims: int, filters: int, inner: Sequence[int], latent: int, dropout: float) -> None:
        super().__init__()
        self.inner = tuple(inner)
        self.dense = nn.Linear(latent, BOTTLENECK * prod(inner))
        self.dropout = MCDropout(dropout)
        self.conv = conv(dims)(BOTTLENECK, filters, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, F, S')."""
        grid: Tensor = self.dropout(self.dense(z)).unflatten(1, (BOTTLENECK, *self.inner))
        expanded: Tensor = self.conv(grid)
        return expanded


def inner_size(size: Sequence[int]) -> tuple[int, ...]:
    """Grid of the innermost feature map."""
    return tuple(edge // 2 ** stages(size) for edge in size)


def critic(*, channels: int, dims: int, size: Sequence[int], width: int) -> Reader:
    """The body of the study's critics, its encoder with layer norm: (B, C, S) to (B, F·S')."""
    body = Encoder(channels=channels, dims=dims, size=size, width=width, norm="layer")
    return Reader(body, nn.Flatten(), features=body.features * prod(inner_size(size)))


def normaliser(kind: str, dims: int, filters: int) -> nn.Module:
    """``batch`` norm, or ``layer`` norm over channels and space with a gain and offset a channel."""
    if kind == "layer":
        return nn.GroupNorm(1, filters)
    return nn.BatchNorm2d(filters) if dims == 2 else nn.BatchNorm3d(filters)
