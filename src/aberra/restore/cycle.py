"""To another domain and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import Cycles
from aberra.options import configured
from aberra.restore import Restored, Restores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Cycle(Restores):
    """x̂ = F(S(G(x))): the scan in the other domain and back, S taking out what was hidden on the
    way.

    Baur et al. 2020, SteGANomaly (MICCAI): the cycle residual ``|x − F(S(G(x)))|``. What the model
    learnt with is S by default; without it one sees what the generators would hide.

    Args:
        inhibited: with S; else x̂ = F(G(x)).
    """

    name = "cycle"
    needs = (Cycles,)
    once = True

    @configured("score.restore")
    def __init__(self, *, inhibited: bool = True) -> None:
        self.inhibited = inhibited

    def __call__(self, model: Cycles, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S)."""
        yield Restored(model.cycle(x, inhibited=self.inhibited))
