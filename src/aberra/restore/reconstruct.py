"""The model's own reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import Reconstructs
from aberra.restore import Restored, Restores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Reconstruct(Restores):
    """x̂ is what the model reconstructs."""

    name = "reconstruct"
    needs = (Reconstructs,)
    once = True

    def __call__(self, model: Reconstructs, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S)."""
        yield Restored(model.reconstruct(x))
