"""Quarter turns and shifts of slices, for models that learn to tell which one they see."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import nn

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CLASSES = (3, 3, 4)
"""Of shifts along the rows, of shifts down the columns, and of turns: three labels of a
transformation."""

COUNT = prod(CLASSES)

Order = Literal["turn-first", "shift-first"]


class Transformations(nn.Module):
    """The 36 transformations of a slice: a turn by 0, 90, 180 or 270°, and no shift or one either
    way along each of the last two axes, zeros coming in.

    Venkatakrishnan 2020 (M.Sc. thesis, TU München), after Hendrycks, Mazeika, Kadavath, Song 2019
    (arXiv 1906.12340). Number n has the labels ``labels[n]``: 0 stays, 1 is a shift towards the
    first pixel, 2 away from it; turns are counter-clockwise, in quarters. Number 0 changes nothing.
    Volumes are turned and shifted within the last two axes.

    Args:
        size: spatial shape S of the images.
        shift: over the edge; the thesis has about an eighth. At least one pixel.
        order: ``turn-first`` (as the thesis lists them) or ``shift-first`` (Hendrycks et al.).

    Raises:
        ConfigError: slices that are not as high as wide, which turning would change.

    Deviation: Hendrycks et al. shift by a quarter of the edge and reflect at the border; the thesis
    does not say what comes in.

    Examples:
        >>> import torch
        >>> from aberra.nets.transformations import Transformations
        >>> transform = Transformations(size=(4, 4), shift=0.25)
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> transform.labels[13].tolist()
        [1, 0, 1]
        >>> transform(x, torch.tensor([13]))[0, 0].int()
        tensor([[ 7, 11, 15,  0],
                [ 6, 10, 14,  0],
                [ 5,  9, 13,  0],
                [ 4,  8, 12,  0]], dtype=torch.int32)
    """

    labels: Tensor
    places: Tensor

    def __init__(self, *, size: Sequence[int], shift: float = 1 / 8, order: Order = "turn-first") -> None:
        super().__init__()
        height, width = size[-2:]
        if height != width:
            raise ConfigError(
                f"size {tuple(size)}: slices that are turned by 90° are as high as wide; set prepare.size to one number"
            )
        step = max(1, round(shift * width))
        labels = list(product(*map(range, CLASSES)))
        places = torch.stack([_places(width, label, step, order) for label in labels])
        self.register_buffer("labels", torch.tensor(labels), persistent=False)
        self.register_buffer("places", places.flatten(1), persistent=False)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Each image of ``x`` (B, C, S) transformed by its own of ``numbers``, (B,)."""
        flat = F.pad(x.flatten(-2), (0, 1))  # what comes in is the pixel behind the last one
        places = self.places[numbers].reshape(len(x), *[1] * (flat.ndim - 2), -1)
        return flat.gather(-1, places.expand(*flat.shape[:-1], -1)).reshape(x.shape)


def _places(edge: int, label: Sequence[int], step: int, order: Order) -> Tensor:
    """Where each pixel comes from, (edge, edge); edge² is outside."""
    along, down, turn = label
    places = torch.arange(edge**2).reshape(edge, edge)
    if order == "turn-first":
        places = places.rot90(turn)
    for axis, way in ((1, along), (0, down)):
        if way:
            by = -step if way == 1 else step
            moved = places.roll(by, dims=axis)
            outside = moved.narrow(axis, 0, by) if by > 0 else moved.narrow(axis, edge + by, -by)
            outside.fill_(edge**2)
            places = moved
    return places if order == "turn-first" else places.rot90(turn)
