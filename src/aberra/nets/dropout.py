"""Dropout that can be left on at test time, repeatably (Monte-Carlo dropout, Gal & Ghahramani
2016).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class MCDropout(nn.Dropout):
    """Plain dropout in training, the identity in use, and inside :func:`drawn` one fixed mask for
    the whole batch.
    """

    seed: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape (B, …)."""
        if self.seed is None:
            return super().forward(x)
        # on the CPU: a CUDA generator gives other numbers, and a score must not depend on
        # the device
        generator = torch.Generator().manual_seed(self.seed)
        kept = torch.rand((1, *x.shape[1:]), generator=generator) >= self.p
        return x * (kept.to(x) / (1 - self.p))


@contextmanager
def drawn(model: nn.Module, draw: int) -> Iterator[None]:
    """Switch a model's dropout on with the masks of draw number ``draw``, the same for every image
    of a batch.
    """
    layers = [each for each in model.modules() if isinstance(each, MCDropout)]
    for index, layer in enumerate(layers):
        layer.seed = draw * 1_000 + index
    try:
        yield
    finally:
        for layer in layers:
            layer.seed = None
