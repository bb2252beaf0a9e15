"""Convolutions that see only what comes before, in the order in which voxels lie in memory."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.unified import conv

if TYPE_CHECKING:
    from collections.abc import Sequence


class CausalConv(nn.Module):
    """A convolution 3 whose weights are 0 for all that comes after the place itself: rows from top
    to bottom, each from left to right; in 3-D, plane by plane.

    van den Oord, Kalchbrenner, Kavukcuoglu 2016 (arXiv 1601.06759), section 3.4: masks A and B.

    Args:
        before: channels F.
        after: channels F'.
        dims: 2 or 3.
        dilation: places from one weight to the next.
        sees_itself: whether the place itself counts (mask B, behind a first layer with mask A).

    Examples:
        >>> import torch
        >>> from aberra.nets.causal import CausalConv
        >>> CausalConv(1, 1, dims=2, dilation=1, sees_itself=False).mask.int().tolist()
        [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    """

    mask: Tensor

    def __init__(self, before: int, after: int, *, dims: int, dilation: int, sees_itself: bool) -> None:
        super().__init__()
        self.inner = conv(dims)(before, after, 3, padding=dilation, dilation=dilation)
        self.dilation = dilation
        mask = torch.tensor(
            [_is_before(place, sees_itself=sees_itself) for place in product((-1, 0, 1), repeat=dims)]
        )
        self.register_buffer("mask", mask.view([3] * dims), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F', S)."""
        apply = F.conv2d if x.ndim == 4 else F.conv3d
        weight = self.inner.weight * self.mask
        return apply(x, weight, self.inner.bias, padding=self.dilation, dilation=self.dilation)


class GatedBlock(nn.Module):
    """Masked convolution to twice the width, tanh of the one half times sigmoid of the other,
    convolution 1, added to what came in: (B, F, S) to (B, F, S).

    The gated PixelCNN of van den Oord et al. 2016 (arXiv 1606.05328).

    Examples:
        >>> import torch
        >>> from aberra.nets.causal import GatedBlock
        >>> GatedBlock(4, dims=2)(torch.rand(2, 4, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, width: int, *, dims: int) -> None:
        super().__init__()
        self.wide = CausalConv(width, 2 * width, dims=dims, dilation=1, sees_itself=True)
        self.narrow = conv(dims)(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F, S)."""
        value, gate = self.wide(x).chunk(2, dim=1)
        out: Tensor = x + self.narrow(value.tanh() * gate.sigmoid())
        return out


class CausalAttention(nn.Module):
    """Every place looks at all places before it, added to what came in: what masked convolutions
    never see (their blind spot, and what lies far away), it does.

    One head. Chen, Mishra, Rohaninejad, Abbeel 2018 (PixelSNAIL, arXiv 1712.09763).

    Examples:
        >>> import torch
        >>> from aberra.nets.causal import CausalAttention
        >>> x = torch.rand(1, 4, 3, 3)
        >>> CausalAttention(4, dims=2)(x, x).shape
        torch.Size([1, 4, 3, 3])
    """

    def __init__(self, width: int, *, dims: int) -> None:
        super().__init__()
        self.asks = conv(dims)(width, width, 1)
        self.answers = conv(dims)(width, 2 * width, 1)
        self.tells = conv(dims)(width, width, 1)

    def forward(self, x: Tensor, here: Tensor) -> Tensor:
        """Shape (B, F, S) to (B, F, S).

        Args:
            x: features of each place, which know of places before it only.
            here: what is at each place itself, same shape.
        """
        # moved on by one, a place and those before it are those before the next one
        before = F.pad((x + here).flatten(2)[..., :-1], (1, 0)).reshape(x.shape)
        asked = (self.asks(x), *self.answers(before).chunk(2, dim=1))
        query, key, value = (each.flatten(2).transpose(1, 2) for each in asked)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = x + self.tells(seen.transpose(1, 2).reshape(x.shape))
        return out


def _is_before(place: Sequence[int], *, sees_itself: bool) -> bool:
    """Whether a weight's place relative to the middle comes before it."""
    here = (0,) * len(place)
    return tuple(place) < here or (sees_itself and tuple(place) == here)
