"""The networks of the diffusion methods: a U-Net that knows how noisy its input is, and its encoder
half.

Ho et al. 2020 and Nichol & Dhariwal 2021, as Wolleb 2022 uses them: the thesis' parameter counts
come out to the digit (tested).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import conv

if TYPE_CHECKING:
    from collections.abc import Sequence


def _norm(channels: int) -> nn.GroupNorm:
    """Group norm with 32 groups, fewer where a group would have less than four channels.

    A group of one channel would take out the embedding that is added to it: the network would not
    know t.
    """
    return nn.GroupNorm(math.gcd(32, channels // 4, channels) or 1, channels)


def _zeroed(layer: nn.Module) -> nn.Module:
    """A layer that starts as zero, so that its block starts as the identity."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


class StepEmbedding(nn.Module):
    """Sinusoids of t, then two linear layers: (B,) to (B, 4·width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))

    def forward(self, t: Tensor) -> Tensor:
        """Shape (B,) to (B, 4·width)."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
        angles = t.float()[:, None] * rates
        out: Tensor = self.layers(torch.cat([angles.cos(), angles.sin()], dim=1))
        return out


class ConditionEmbedding(nn.Module):
    """Numbers (B, K), NaN where one is unknown, to what is added to the embedding of the step, (B,
    F).

    Zero at first. A number that is unknown is told as such, not as a mean.
    """

    def __init__(self, count: int, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * count, features), nn.SiLU(), _zeroed(nn.Linear(features, features))
        )

    def forward(self, values: Tensor) -> Tensor:
        """Shape (B, K) to (B, F)."""
        known = ~values.isnan()
        out: Tensor = self.layers(torch.cat([values.nan_to_num(0.0), known.to(values)], dim=1))
        return out


class ResBlock(nn.Module):
    """GN–SiLU–conv, + embedding, GN–SiLU–conv (zero at first), on a 1×1 skip where channels change.

    Args:
        dims: 2 or 3.
        before: channels of the input.
        after: channels of the output.
        embedding: length of the step embedding.
        scale_shift: the embedding scales and shifts after the norm (classifiers) instead of being
            added.
        down: halve the grid on both ways.
    """

    def __init__(
        self,
        *,
        dims: int,
        before: int,
        after: int,
        embedding: int,
        scale_shift: bool = False,
        down: bool = False,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.norm = _norm(before)
        self.conv = conv(dims)(before, after, 3, padding=1)
        self.embed = nn.Linear(embedding, (2 if scale_shift else 1) * after)
        self.norm_out = _norm(after)
        self.conv_out = _zeroed(conv(dims)(after, after, 3, padding=1))
        self.skip = nn.Identity() if before == after else conv(dims)(before, after, 1)
        self.pool = (nn.AvgPool2d if dims == 2 else nn.AvgPool3d)(2) if down else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Shape (B, before, S) to (B, after, S), S halved where ``down``."""
        hidden = self.conv(self.pool(F.silu(self.norm(x))))
        told = self.embed(F.silu(embedding)).reshape(len(x), -1, *[1] * (x.ndim - 2))
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            hidden = self.norm_out(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm_out(hidden + told)
        out: Tensor = self.skip(self.pool(x)) + self.conv_out(F.silu(hidden))
        return out


class Attention(nn.Module):
    """Self-attention over all places, added to its input; one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to the same."""
        flat = self.norm(x).flatten(2)
        query, key, value = (part.transpose(1, 2) for part in self.qkv(flat).chunk(3, dim=1))
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        out: Tensor = x + self.out(seen).reshape(x.shape)
        return out


class Stage(nn.Module):
    """Blocks in a row; the embedding goes to those that take it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F', S')."""
        for layer in self.layers:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class DiffusionUNet(nn.Module):
    """U-Net with residual blocks, attention and an embedding of the step (and class): (B, C, S),
    (B,) to (B, O, S).

    Args:
        channels: of the input.
        out: O.
        dims: 2 or 3.
        size: S; every edge divisible by 2 to the number of levels below the first.
        width: filters of the first level; the thesis has 128.
        multipliers: of the width, one a level; the thesis has (1, 1, 2, 2, 4, 4) at 256².
        blocks: residual blocks a level; the thesis has 2.
        attention: attend at the levels whose longest edge is one of these; the thesis has 16. The
            middle always does.
        classes: an embedding of a class is added to the step's; 0 is off.
        conditions: K numbers whose embedding is added, too; 0 is off.

    Raises:
        ConfigError: an edge cannot be halved so often, or the width is odd.

    113,681,160 parameters at 4 to 8 channels, 256², two classes.
    """

    def __init__(
        self,
        *,
        channels: int,
        out: int,
        dims: int = 2,
        size: Sequence[int],
        width: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attention: Sequence[int] = (16,),
        classes: int = 0,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        edges = level_edges(size, len(multipliers), width)
        embedding = 4 * width
        self.embed = StepEmbedding(width)
        self.embed_class = nn.Embedding(classes, embedding) if classes else None
        self.embed_conditions = ConditionEmbedding(conditions, embedding) if conditions else None

        def block(before: int, after: int) -> ResBlock:
            return ResBlock(dims=dims, before=before, after=after, embedding=embedding)

        def stage(before: int, after: int, edge: int, *more: nn.Module) -> Stage:
            attends = [Attention(after)] if edge in attention else []
            return Stage(block(before, after), *attends, *more)

        self.first = conv(dims)(channels, width, 3, padding=1)
        now, skips = width, [width]
        self.down = nn.ModuleList()
        for level, (times, edge) in enumerate(zip(multipliers, edges, strict=True)):
            for _ in range(blocks):
                self.down.append(stage(now, times * width, edge))
                now = times * width
                skips.append(now)
            if level < len(multipliers) - 1:
                self.down.append(Stage(conv(dims)(now, now, 3, stride=2, padding=1)))
                skips.append(now)
        self.middle = Stage(block(now, now), Attention(now), block(now, now))
        self.up = nn.ModuleList()
        for level, (times, edge) in reversed(list(enumerate(zip(multipliers, edges, strict=True)))):
            for number in range(blocks + 1):
                grows = (
                    [nn.Upsample(scale_factor=2.0), conv(dims)(times * width, times * width, 3, padding=1)]
                    if level and number == blocks
                    else []
                )
                self.up.append(stage(now + skips.pop(), times * width, edge, *grows))
                now = times * width
        self.norm = _norm(now)
        self.last = _zeroed(conv(dims)(now, out, 3, padding=1))

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, conditions: Tensor | None = None
    ) -> Tensor:
        """Shape (B, C, S), steps (B,), classes (B,), −1 for none, and conditions (B, K), NaN where
        unknown, to (B, O, S).
        """
        embedding = self._embedding(t, label, conditions)
        x = self.first(x)
        skips = [x]
        for stage in self.down:
            x = stage(x, embedding)
            skips.append(x)
        x = self.middle(x, embedding)
        for stage in self.up:
            x = stage(torch.cat([x, skips.pop()], dim=1), embedding)
        out: Tensor = self.last(F.silu(self.norm(x)))
        return out

    def _embedding(self, t: Tensor, label: Tensor | None, conditions: Tensor | None) -> Tensor:
        embedding: Tensor = self.embed(t)
        if self.embed_class is not None and label is not None:
            known = (label >= 0)[:, None]
            embedding = embedding + self.embed_class(label.clamp(min=0)) * known
        if self.embed_conditions is not None and conditions is not None:
            embedding = embedding + self.embed_conditions(conditions)
        return embedding

    def features(self, x: Tensor, t: Tensor, conditions: Tensor | None = None) -> list[Tensor]:
        """Outputs of the encoder's levels, finest first: (B, F, S / 2ᵏ)."""
        embedding = self._embedding(t, None, conditions)
        x = self.first(x)
        found: list[Tensor] = []
        for stage in self.down:
            after = stage(x, embedding)
            if after.shape[2:] != x.shape[2:]:
                found.append(x)
            x = after
        return [*found, x]


class DiffusionEncoder(nn.Module):
    """The encoder half with attention pooling (Dhariwal & Nichol 2021): (B, C, S), (B,) to (B, O).

    Args:
        channels: of the input.
        out: O, logits or the value.
        dims: 2 or 3.
        size: S.
        width: filters of the first level; the thesis has 32.
        multipliers: of the width, one a level.
        blocks: residual blocks a level; the thesis has 4.
        attention: attend at the levels whose longest edge is one of these.

    Raises:
        ConfigError: an edge cannot be halved so often, or the width is odd.

    5,452,962 parameters at 4 channels, 256², two classes.
    """

    def __init__(
        self,
        *,
        channels: int,
        out: int,
        dims: int = 2,
        size: Sequence[int],
        width: int = 32,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 4,
        attention: Sequence[int] = (32, 16, 8),
    ) -> None:
        super().__init__()
        edges = level_edges(size, len(multipliers), width)
        self.embed = StepEmbedding(width)

        def block(before: int, after: int, *, down: bool = False) -> ResBlock:
            return ResBlock(
                dims=dims, before=before, after=after, embedding=4 * width, scale_shift=True, down=down
            )

        layers: list[nn.Module] = []
        now = width
        for level, (times, edge) in enumerate(zip(multipliers, edges, strict=True)):
            for _ in range(blocks):
                layers.append(block(now, times * width))
                now = times * width
                if edge in attention:
                    layers.append(Attention(now))
            if level < len(multipliers) - 1:
                layers.append(block(now, now, down=True))
        layers += [block(now, now), Attention(now), block(now, now)]
        self.first = conv(dims)(channels, width, 3, padding=1)
        self.body = Stage(*layers)
        self.norm = _norm(now)
        places = math.prod(edge // 2 ** (len(multipliers) - 1) for edge in size)
        self.position = nn.Parameter(torch.randn(now, places + 1) / now**0.5)
        self.qkv = nn.Conv1d(now, 3 * now, 1)
        self.out = nn.Conv1d(now, out, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Shape (B, C, S) and steps (B,) to (B, O)."""
        flat = F.silu(self.norm(self.body(self.first(x), self.embed(t)))).flatten(2)
        # the mean is one more place, and what it sees of the others is the answer (CLIP's
        # attention pooling)
        flat = torch.cat([flat.mean(dim=2, keepdim=True), flat], dim=2) + self.position
        query, key, value = (part.transpose(1, 2) for part in self.qkv(flat).chunk(3, dim=1))
        seen = F.scaled_dot_product_attention(query[:, :1], key, value).transpose(1, 2)
        out: Tensor = self.out(seen)[:, :, 0]
        return out


def level_edges(size: Sequence[int], levels: int, width: int) -> list[int]:
    """Longest edge at each level.

    Raises:
        ConfigError: an edge cannot be halved so often, or the width is odd.
    """
    if not levels:
        raise ConfigError(
            "model.network.multipliers=[]; expected one of the width for each level, as in [1, 2, 2]"
        )
    if any(edge % 2 ** (levels - 1) for edge in size):
        raise ConfigError(
            f"size {tuple(size)} with {levels} levels: every edge must be divisible by {2 ** (levels - 1)}"
        )
    if width % 2:
        raise ConfigError(f"model.network.width={width}; expected an even number")
    return [max(size) // 2**level for level in range(levels)]
