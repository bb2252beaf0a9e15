"""Context noise: boxes of an image overwritten, for models that learn to fill them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from aberra.errors import ConfigError
from aberra.options import Few, Share, configured

if TYPE_CHECKING:
    from torch import Generator, Tensor

Place = Literal["foreground", "anywhere"]
Fill = Literal["zero", "random"]
STUDY_EDGE = 20 / 128
"""Edge of a box over the edge of the image in the comparative study's code."""


class ContextNoise:
    """Overwrites one to ``boxes`` boxes of each image.

    The study (Baur et al. 2021, arXiv 2004.03271, public code): boxes of 20 of 128 pixels inside
    the foreground's bounding box, set to zero. Zimmerer et al. 2018 (arXiv 1812.05941): squares
    anywhere of up to half the image, each of one random intensity: ``place="anywhere",
    fill="random", smallest=0, largest=0.5``.

    Args:
        boxes: most boxes an image; their number is uniform from 1.
        smallest: least edge of a box over that of the image, axis by axis; at least one pixel.
        largest: greatest such share; it is drawn uniformly, the same for all axes of a box.
        place: ``foreground`` (a box lies inside the foreground's bounding box and is cut to it
            where it is larger) or ``anywhere``.
        fill: ``zero``, or ``random``: for each box and channel one number, uniform in the channel's
            range in the batch.

    Raises:
        ConfigError: unknown place or fill, no boxes, or shares out of order or of [0, 1].
    """

    @configured("model")
    def __init__(self, *, boxes: Few, smallest: Share, largest: Share, place: Place, fill: Fill) -> None:
        if not smallest <= largest or not largest:
            raise ConfigError(
                f"model: box edges from {smallest} to {largest}; expected shares of the image's edge, 0 ≤ smallest ≤ largest ≤ 1"
            )
        self.boxes = boxes
        self.smallest = smallest
        self.largest = largest
        self.place = place
        self.fill = fill

    def __call__(self, x: Tensor, mask: Tensor, generator: Generator) -> Tensor:
        """Return ``x`` (B, C, S) with boxes overwritten; ``mask`` (B, 1, S) is the foreground."""
        drawn = self.draw(mask, generator).unsqueeze(2)
        fills = torch.zeros((len(x), self.boxes, x.shape[1]), device=x.device, dtype=x.dtype)
        if self.fill == "random":
            low, high = x.transpose(0, 1).flatten(1).aminmax(dim=1)
            fills = low + (high - low) * torch.rand(
                fills.shape, generator=generator, device=x.device, dtype=x.dtype
            )
        fills = fills.reshape(*fills.shape, *[1] * (x.ndim - 2))
        for number in range(self.boxes):
            x = torch.where(drawn[:, number], fills[:, number], x)
        return x

    def draw(self, mask: Tensor, generator: Generator) -> Tensor:
        """Draw the boxes of a batch: bool (B, ``boxes``, S), all false for boxes that an image does
        not get.
        """
        size = torch.tensor(mask.shape[2:], device=mask.device)
        low, high = bounding_box(mask if self.place == "foreground" else torch.ones_like(mask))
        shape = (len(mask), self.boxes)

        def uniform(*more: int) -> Tensor:
            return torch.rand((*shape, *more), generator=generator, device=mask.device)

        share = self.smallest + (self.largest - self.smallest) * uniform(1)
        edges = (share * size).round().clamp(min=1)
        room = (high - low).unsqueeze(1) - edges
        start = low.unsqueeze(1) + (uniform(len(size)) * (room.clamp(min=0) + 1)).floor()
        stop = torch.minimum(start + edges, high.unsqueeze(1))
        count = torch.randint(1, self.boxes + 1, (len(mask), 1), generator=generator, device=mask.device)
        inside = torch.arange(self.boxes, device=mask.device) < count
        inside = inside.reshape(*shape, *[1] * len(size))
        for axis, edge in enumerate(mask.shape[2:]):
            index = torch.arange(edge, device=mask.device)
            along = (index >= start[..., axis, None]) & (index < stop[..., axis, None])
            inside = inside & along.reshape(
                *shape, *[edge if other == axis else 1 for other in range(len(size))]
            )
        return inside


def bounding_box(mask: Tensor) -> tuple[Tensor, Tensor]:
    """First index and last index + 1 of the foreground of (B, 1, S) along each axis, (B, axes)
    each.

    Where there is no foreground, the first lies behind the last.
    """
    lows, highs = [], []
    for axis in range(2, mask.ndim):
        others = [other for other in range(1, mask.ndim) if other != axis]
        present = (mask > 0).sum(dim=others) > 0
        index = torch.arange(mask.shape[axis], device=mask.device)
        lows.append(torch.where(present, index, mask.shape[axis]).amin(dim=1))
        highs.append(torch.where(present, index + 1, 0).amax(dim=1))
    return torch.stack(lows, dim=1), torch.stack(highs, dim=1)
