"""Invertible layers and their log-determinants: RealNVP's on vectors (B, F), Glow's on images (B, F,
S).

The features lie on axis 1 in either case, so that both are made of the same layers. Dinh,
Sohl-Dickstein, Bengio 2017 (arXiv 1605.08803); Kingma, Dhariwal 2018 (arXiv 1807.03039).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log, pi, prod
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import conv

if TYPE_CHECKING:
    from collections.abc import Sequence


def log_normal(z: Tensor) -> Tensor:
    """Log N(z; 0, I), (B, …) to (B,)."""
    return -0.5 * (z**2 + log(2 * pi)).flatten(1).sum(dim=1)


class Invertible(nn.Module, ABC):
    """A layer that can be undone."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Y and log|det ∂y/∂x|, (B,), of ``x`` (B, F) or (B, F, S)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """The x that gives ``y``."""


class Flow(Invertible):
    """Layers one after the other."""

    def __init__(self, *layers: Invertible) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_determinant = layer(x)
            total = total + log_determinant
        return x, total

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`."""
        for layer in reversed(self.layers):
            y = cast("Invertible", layer).inverse(y)
        return y


class Coupling(Invertible):
    """(a, b) to (a, b·exp(s(a)) + t(a)), b being scaled and moved by what a net says of a (affine
    coupling).

    Args:
        net: (B, ``kept``, S) to (B, 2·(F − ``kept``), S): raw scale and t.
        kept: features of a.
        last: a is the last features and not the first ones.
        clamp: s = c·tanh(raw / c), so that no step stretches by more than eᶜ.
    """

    def __init__(self, net: nn.Module, kept: int, *, last: bool = False, clamp: float = 2.0) -> None:
        super().__init__()
        self.net = net
        self.kept = kept
        self.last = last
        self.clamp = clamp

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`."""
        a, b = self._parts(x)
        scale, shift = self._affine(a)
        return self._whole(a, b * scale.exp() + shift), scale.flatten(1).sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`."""
        a, b = self._parts(y)
        scale, shift = self._affine(a)
        return self._whole(a, (b - shift) * torch.exp(-scale))

    def _affine(self, a: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(a).chunk(2, dim=1)
        return self.clamp * torch.tanh(raw / self.clamp), shift

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.last:
            return x[:, -self.kept :], x[:, : -self.kept]
        return x[:, : self.kept], x[:, self.kept :]

    def _whole(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat((b, a) if self.last else (a, b), dim=1)


class Permutation(Invertible):
    """Features in another, random order that stays the same."""

    order: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`."""
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`."""
        return y[:, self.order.argsort()]


class ActNorm(Invertible):
    """A scale and an offset a feature, by which the first batch of the training gets mean 0 and
    standard deviation 1.
    """

    ready: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.offset = nn.Parameter(torch.zeros(features))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`."""
        if self.training and not self.ready:
            self._start(x)
        y = (x + _shaped(self.offset, x)) * _shaped(self.log_scale, x).exp()
        return y, _places(x) * self.log_scale.sum().expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`."""
        return y * torch.exp(-_shaped(self.log_scale, y)) - _shaped(self.offset, y)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        rows = x.transpose(0, 1).flatten(1)
        self.offset.copy_(-_averaged(rows.mean(dim=1)))
        self.log_scale.copy_(-_averaged(rows.std(dim=1)).clamp(min=1e-6).log())
        self.ready.fill_(True)  # noqa: FBT003


class Mixing(Invertible):
    """An invertible matrix over the features, a rotation at first (Glow's 1×1 convolution)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(features, features)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`."""
        volume = torch.linalg.slogdet(self.weight).logabsdet
        return _mixed(self.weight, x), _places(x) * volume.expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`."""
        return _mixed(torch.linalg.inv(self.weight), y)


class Squeeze(Invertible):
    """Each 2ⁿ neighbours become features: (B, F, S) to (B, 2ⁿ·F, S / 2), n being 2 or 3."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`."""
        batch, features, *size = x.shape
        dims = len(size)
        blocks = x.reshape(batch, features, *(part for edge in size for part in (edge // 2, 2)))
        inner = [3 + 2 * axis for axis in range(dims)]
        outer = [2 + 2 * axis for axis in range(dims)]
        y = blocks.permute(0, 1, *inner, *outer)
        return y.reshape(batch, features * 2**dims, *(edge // 2 for edge in size)), x.new_zeros(batch)

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`."""
        batch, features, *size = y.shape
        dims = len(size)
        blocks = y.reshape(batch, features // 2**dims, *[2] * dims, *size)
        order = [axis for pair in range(dims) for axis in (2 + dims + pair, 2 + pair)]
        return blocks.permute(0, 1, *order).reshape(batch, features // 2**dims, *(2 * edge for edge in size))


class MultiScale(Invertible):
    """Glow: levels of squeeze and of steps (actnorm, mixing, coupling), after each of which but the
    last half of the features leaves.

    y is all that left, flattened and behind each other, (B, N) with N = C·S. What leaves is scaled
    and moved by what stays, which is the same as a Gaussian prior whose mean and variance depend on
    it: y has a standard normal prior as a whole.

    Args:
        channels: C.
        dims: 2 or 3.
        size: S.
        levels: how often is squeezed.
        steps: a level.
        width: filters of the couplings' networks.

    Raises:
        ConfigError: an edge that is not divisible by 2 as often as there are levels.
    """

    def __init__(
        self, *, channels: int, dims: int, size: Sequence[int], levels: int, steps: int, width: int
    ) -> None:
        super().__init__()
        if any(edge % 2**levels for edge in size):
            raise ConfigError(
                f"size {tuple(size)}: every edge must be divisible by {2**levels}; lower levels or choose another size"
            )
        features, edges = channels, list(size)
        self.shapes: list[tuple[int, ...]] = []
        flows = []
        for level in range(levels):
            features, edges = features * 2**dims, [edge // 2 for edge in edges]
            half = features // 2
            layers: list[Invertible] = [Squeeze()]
            for _ in range(steps):
                net = _subnet(dims, half, width, 2 * (features - half))
                layers += [ActNorm(features), Mixing(features), Coupling(net, half)]
            if level + 1 < levels:
                layers.append(Coupling(_silent(conv(dims)(half, 2 * (features - half), 3, padding=1)), half))
                self.shapes.append((features - half, *edges))
                features = half
            flows.append(Flow(*layers))
        self.shapes.append((features, *edges))
        self.levels = nn.ModuleList(flows)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`Invertible`; y is (B, N)."""
        left, total = [], x.new_zeros(len(x))
        for level, (leaving, *_) in zip(self.levels, self.shapes, strict=True):
            x, log_determinant = level(x)
            total = total + log_determinant
            stays = x.shape[1] - leaving
            left.append(x[:, stays:].flatten(1))
            x = x[:, :stays]
        return torch.cat(left, dim=1), total

    def inverse(self, y: Tensor) -> Tensor:
        """As of :class:`Invertible`; ``y`` is (B, N)."""
        parts = torch.split(y, [prod(shape) for shape in self.shapes], dim=1)
        x = y.new_zeros((len(y), 0, *self.shapes[-1][1:]))
        for level, part, shape in zip(
            reversed(self.levels), reversed(parts), reversed(self.shapes), strict=True
        ):
            x = cast("Invertible", level).inverse(torch.cat([x, part.reshape(-1, *shape)], dim=1))
        return x


def vector_flow(features: int, *, blocks: int, width: int) -> Flow:
    """RealNVP on vectors (B, ``features``): in each block either half is scaled and moved by what a
    hidden layer of ``width`` units makes of the other, then the features change places.

    Every block is the identity at first, but for the order.
    """
    half = features // 2
    layers: list[Invertible] = []
    for _ in range(blocks):
        for kept, last in ((half, False), (features - half, True)):
            net = nn.Sequential(
                nn.Linear(kept, width), nn.ReLU(), _silent(nn.Linear(width, 2 * (features - kept)))
            )
            layers.append(Coupling(net, kept, last=last))
        layers.append(Permutation(features))
    return Flow(*layers)


def _subnet(dims: int, before: int, width: int, after: int) -> nn.Module:
    """Glow's network of a coupling: convolutions 3, 1, 3, the last of which says nothing at first."""
    layer = conv(dims)
    return nn.Sequential(
        layer(before, width, 3, padding=1),
        nn.ReLU(),
        layer(width, width, 1),
        nn.ReLU(),
        _silent(layer(width, after, 3, padding=1)),
    )


def _silent(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> nn.Module:
    """A layer whose output is zero at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _averaged(values: Tensor) -> Tensor:
    """The mean over all processes of a training, which would begin apart without."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values


def _mixed(matrix: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("ij,bj...->bi...", matrix, x)


def _shaped(values: Tensor, x: Tensor) -> Tensor:
    """(F,) as (F, 1, …), to go with ``x`` (B, F, …)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def _places(x: Tensor) -> int:
    """Voxels of an image, 1 for a vector."""
    return prod(x.shape[2:])
