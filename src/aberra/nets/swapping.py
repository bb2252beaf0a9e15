"""Patches of an image exchanged, for models that learn to put them back."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor


class PatchSwap:
    """Exchanges two patches of each image, once or several times.

    Chen, Bentley, Mori, Misawa, Fujiwara, Rueckert 2019 (context restoration, Medical Image
    Analysis 58); Venkatakrishnan 2020 (M.Sc. thesis, TU München), algorithm 1: around two points of
    the foreground, once. No pixel is lost, so a histogram tells nothing, only a pixel's place.

    Args:
        edge: of a patch over that of the image, axis by axis; at least one pixel. The thesis has an
            eighth.
        swaps: how often; the thesis 1, Chen et al. many times.

    Deviation: patches are moved inwards until they lie in the image, and the second point is drawn
    where its patch does not overlap the first one's; the thesis says neither. An image without two
    such points stays as it is.

    Examples:
        >>> import torch
        >>> from aberra.nets.swapping import PatchSwap
        >>> swap, seeded = PatchSwap(edge=0.25, swaps=1), torch.Generator().manual_seed(0)
        >>> x = torch.arange(64.0).reshape(1, 1, 8, 8)
        >>> swapped = swap(x, torch.ones_like(x), seeded)
        >>> int((swapped != x).sum()), torch.equal(swapped.flatten().sort().values, x.flatten())
        (8, True)
    """

    def __init__(self, *, edge: float, swaps: int) -> None:
        self.edge = edge
        self.swaps = swaps

    def __call__(self, x: Tensor, mask: Tensor, generator: Generator) -> Tensor:
        """Return ``x`` (B, C, S) with patches exchanged; ``mask`` (B, 1, S) is the foreground."""
        for _ in range(self.swaps):
            x = moved(x, self.draw(mask, generator))
        return x

    def draw(self, mask: Tensor, generator: Generator) -> Tensor:
        """Where each pixel of a swapped image comes from, pixels counted in rows: (B, 1, S) to (B,
        P). Its own inverse.
        """
        size = mask.shape[2:]
        corners, patch = self._patches(size, mask.device)
        weights = (mask.flatten(1) > 0).float()
        order = torch.arange(prod(size), device=mask.device).repeat(len(mask), 1)
        first, some = _point(weights, generator)
        edges = torch.tensor(self.edges(size), device=mask.device)
        apart = ((corners - corners[first].unsqueeze(1)).abs() >= edges).any(dim=2)  # (B, P)
        second, others = _point(weights * apart, generator)
        strides = torch.tensor([prod(size[axis + 1 :]) for axis in range(len(size))], device=mask.device)
        one, other = (
            (corners[point] * strides).sum(dim=1, keepdim=True) + patch for point in (first, second)
        )
        swapped = order.scatter(1, one, other).scatter(1, other, one)
        return torch.where((some & others).unsqueeze(1), swapped, order)

    def edges(self, size: torch.Size) -> list[int]:
        """Pixels of a patch along each axis."""
        return [max(1, round(self.edge * length)) for length in size]

    def _patches(self, size: torch.Size, device: torch.device) -> tuple[Tensor, Tensor]:
        """The first pixel of the patch around each pixel, (P, axes), and a patch's pixels relative
        to that, (1, N).
        """
        starts, inner, edges = [], torch.zeros(1, dtype=torch.long, device=device), self.edges(size)
        for axis, (length, edge) in enumerate(zip(size, edges, strict=True)):
            starts.append((torch.arange(length, device=device) - edge // 2).clamp(0, length - edge))
            along = torch.arange(edge, device=device) * prod(size[axis + 1 :])
            inner = (inner.unsqueeze(1) + along).flatten()
        grids = torch.meshgrid(*starts, indexing="ij")
        return torch.stack([grid.flatten() for grid in grids], dim=1), inner.unsqueeze(0)


def moved(x: Tensor, order: Tensor) -> Tensor:
    """Images (B, C, S) whose pixels come from others, (B, P)."""
    return x.flatten(2).gather(2, order.unsqueeze(1).expand(-1, x.shape[1], -1)).reshape(x.shape)


def _point(weights: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """A pixel of each image, drawn by weights (B, P), and whether there was one to draw."""
    some = weights.sum(dim=1) > 0
    drawn = torch.multinomial(torch.where(some.unsqueeze(1), weights, 1.0), 1, generator=generator)
    return drawn.squeeze(1), some
