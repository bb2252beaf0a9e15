"""Generator and critic of CycleGAN (Zhu, Park, Isola, Efros 2017, arXiv 1703.10593, appendix 7.2).

Norms are those of single images, without gain and offset, as in the authors' code.

Deviation: the generator's output is linear instead of tanh; our intensities reach above 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import conv

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOPE = 0.2
"""LeakyReLU's negative slope in the critic."""


class Generator(nn.Sequential):
    """Convolution 7, two of stride 2, residual blocks, two transposed of stride 2, convolution 7:
    (B, C, S) to (B, C, S).

    Padding mirrors the image. 11,378,179 parameters with 3 channels, width 64 and 9 blocks in 2-D.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S, checked.
        width: filters of the first layer; the blocks have four times as many.
        blocks: residual ones; Zhu et al. have 9 at 256² and 6 at 128².

    Raises:
        ConfigError: an edge that cannot be halved twice, or is too short to be mirrored.
    """

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int, blocks: int) -> None:
        if any(edge % 4 or edge < 8 for edge in size):
            raise ConfigError(f"size {tuple(size)}: every edge must be divisible by 4, and 8 or more")
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        layers: list[nn.Module] = [_mirror(dims, 3), *_step(conv(dims)(channels, width, 7), dims, width)]
        for filters in (width, 2 * width):
            layers += _step(conv(dims)(filters, 2 * filters, 3, stride=2, padding=1), dims, 2 * filters)
        layers += [_Block(dims=dims, filters=4 * width) for _ in range(blocks)]
        for filters in (4 * width, 2 * width):
            half = filters // 2
            layers += _step(up(filters, half, 3, stride=2, padding=1, output_padding=1), dims, half)
        super().__init__(*layers, _mirror(dims, 3), conv(dims)(width, channels, 7))


class _Block(nn.Module):
    """x + two convolutions 3, the first with norm and ReLU, the second with norm."""

    def __init__(self, *, dims: int, filters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _mirror(dims, 1),
            *_step(conv(dims)(filters, filters, 3), dims, filters),
            _mirror(dims, 1),
            conv(dims)(filters, filters, 3),
            _norm(dims, filters),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S') to (B, F, S')."""
        out: Tensor = x + self.layers(x)
        return out


class PatchCritic(nn.Sequential):
    """Says of every patch how real it looks: convolutions 4 with norm and LeakyReLU, (B, C, S) to
    (B, 1, S').

    With 3 layers a patch has 70 × 70 pixels, with 2 34 × 34; 2,764,737 parameters with 3 channels,
    width 64 and 3 layers in 2-D.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S, checked.
        width: filters of the first layer; at most eight times as many follow.
        layers: of stride 2; two of stride 1 follow.

    Raises:
        ConfigError: an image that is too small for so many layers.
    """

    def __init__(self, *, channels: int, dims: int, size: Sequence[int], width: int, layers: int) -> None:
        smallest = min(size) // 2**layers - 2  # stride 1 takes one off, twice
        if smallest < 1:
            raise ConfigError(
                f"model.critic_layers={layers}: size {tuple(size)} is too small for so many layers; "
                f"every edge must be {3 * 2**layers} or more"
            )
        steps: list[nn.Module] = [
            conv(dims)(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
        ]
        filters = width
        for layer in range(1, layers + 1):
            wider = min(2**layer, 8) * width
            stride = 2 if layer < layers else 1
            steps += [
                conv(dims)(filters, wider, 4, stride=stride, padding=1), _norm(dims, wider), nn.LeakyReLU(SLOPE)
            ]  # fmt: skip
            filters = wider
        super().__init__(*steps, conv(dims)(filters, 1, 4, padding=1))


def _mirror(dims: int, edge: int) -> nn.Module:
    return nn.ReflectionPad2d(edge) if dims == 2 else nn.ReflectionPad3d(edge)


def _norm(dims: int, filters: int) -> nn.Module:
    return nn.InstanceNorm2d(filters) if dims == 2 else nn.InstanceNorm3d(filters)


def _step(layer: nn.Module, dims: int, filters: int) -> list[nn.Module]:
    return [layer, _norm(dims, filters), nn.ReLU()]
