"""Encoder and decoder of the VQ-VAEs (van den Oord et al. 2017, arXiv 1711.00937; Razavi et al.
2019, arXiv 1906.00446): few strided convolutions and residual blocks, without norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import Reader, conv

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_size(size: Sequence[int], halvings: int) -> None:
    """Refuse what cannot be halved so often.

    Raises:
        ConfigError: an edge is not divisible by 2 to that power.
    """
    if any(edge % 2**halvings for edge in size):
        raise ConfigError(f"size {tuple(size)}: every edge must be divisible by {2**halvings}")


class Residual(nn.Module):
    """ReLU, convolution 3 to ``inside`` filters, ReLU, convolution 1 back, added to what came in."""

    def __init__(self, *, dims: int, width: int, inside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), conv(dims)(width, inside, 3, padding=1), nn.ReLU(), conv(dims)(inside, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F, S)."""
        out: Tensor = x + self.body(x)
        return out


class Encoder(Reader):
    """Convolutions 4 with stride 2 (the first to half of ``width``), convolution 3, residual
    blocks: (B, C, S) to (B, width, S / 2ⁿ).
    """

    def __init__(
        self, *, channels: int, dims: int, halvings: int, width: int, inside: int, blocks: int
    ) -> None:
        layers: list[nn.Module] = []
        before = channels
        for after in [max(1, width // 2), *[width] * (halvings - 1)]:
            layers += [conv(dims)(before, after, 4, stride=2, padding=1), nn.ReLU()]
            before = after
        layers.append(conv(dims)(before, width, 3, padding=1))
        super().__init__(*layers, *_residuals(dims, width, inside, blocks), features=width)


class Decoder(nn.Sequential):
    """Convolution 3, residual blocks, transposed convolutions 4 with stride 2 (the last of half of
    ``width``): (B, F, S / 2ⁿ) to (B, out, S), linear.
    """

    def __init__(
        self, *, features: int, out: int, dims: int, halvings: int, width: int, inside: int, blocks: int
    ) -> None:
        layers: list[nn.Module] = [conv(dims)(features, width, 3, padding=1)]
        layers += _residuals(dims, width, inside, blocks)
        before = width
        for _ in range(halvings - 1):
            after = max(1, width // 2)
            layers += [enlarge(dims, before, after), nn.ReLU()]
            before = after
        super().__init__(*layers, enlarge(dims, before, out))


def enlarge(dims: int, before: int, after: int) -> nn.Module:
    """Transposed convolution 4 with stride 2: (B, F, S) to (B, F', 2·S)."""
    up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    return up(before, after, 4, stride=2, padding=1)


def _residuals(dims: int, width: int, inside: int, blocks: int) -> list[nn.Module]:
    return [*(Residual(dims=dims, width=width, inside=inside) for _ in range(blocks)), nn.ReLU()]
