"""How the healthy version of a scan is found: one file a way.

Names are in :mod:`aberra.registry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor


@dataclass(frozen=True)
class Restored:
    """A healthy version of a batch.

    Attributes:
        image: x̂, shape (B, C, S).
        reference: what x̂ is compared with, (B, C, S); None is the scan itself.
        evidence: how suspicious the restoration found each pixel on its way, (B, 1, S),
            non-negative; None where it keeps none.
    """

    image: Tensor
    reference: Tensor | None = None
    evidence: Tensor | None = None

    def packed(self, x: Tensor) -> Tensor:
        """Image, reference and evidence as channels, (B, 2C + 1, S), of a batch ``x`` (B, C, S)."""
        reference = x if self.reference is None else self.reference
        evidence = torch.ones_like(x[:, :1]) if self.evidence is None else self.evidence
        return torch.cat([self.image.float(), reference.float(), evidence.float()], dim=1)


class Restores(Protocol):
    """A way to find the healthy version; constructor arguments are the options in
    ``[score.restore]``.

    Attributes:
        needs: what it asks of a model, protocols of :mod:`aberra.capabilities`.
        grad: asks the model for gradients.
        several: yields more than one version.
        has_evidence: its versions have evidence.
        once: asks the model once (:class:`aberra.capabilities.AsksOnce`).
    """

    needs: tuple[type, ...]
    grad: ClassVar[bool] = False
    has_evidence: ClassVar[bool] = False
    once: ClassVar[bool] = False
    several: bool = False

    def __call__(self, model: Any, x: Tensor) -> Iterator[Restored]:
        """Yield healthy versions of a batch (B, C, S).

        Each is compared with the scan; the map is the mean of the comparisons.
        """
        ...


def mean_image(images: Iterable[Tensor]) -> Tensor:
    """Mean of equal shapes, one at a time, in float32."""
    total, count = torch.zeros(()), 0
    for count, image in enumerate(images, start=1):
        total = image.float() if count == 1 else total + image
    return total / count


class Moments:
    """Mean and variance (divisor N) of equal shapes, one at a time, in float32: memory does not
    grow with their number.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.total = torch.zeros(())

    def add(self, image: Tensor) -> None:
        """Count an image, (B, C, S)."""
        self.count += 1
        step = image.float() - self.mean
        self.mean = self.mean + step / self.count
        # Welford: E[x̂²] − E[x̂]² would lose the digits that matter
        self.total = self.total + step * (image.float() - self.mean)

    @property
    def variance(self) -> Tensor:
        """Mean over channels, (B, 1, S)."""
        return (self.total / self.count).clamp(min=0).mean(dim=1, keepdim=True)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, mean over channels, (B, 1, S)."""
        return (self.total / self.count).clamp(min=0).sqrt().mean(dim=1, keepdim=True)
