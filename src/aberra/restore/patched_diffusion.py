"""Noise a scan box by box, the rest of it in plain sight (pDDPM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import RestoresBoxes
from aberra.options import Step, configured
from aberra.restore import Restored, Restores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class PatchedDiffusion(Restores):
    """x̂ = the scan after noise to step ``start`` in each of its boxes, restored with one call of
    the network a box.

    Behrendt, Bhattacharya, Krüger, Opfer, Schlaefer 2023 (MIDL, arXiv 2303.03758).

    Args:
        start: step up to which noise is added, the paper's t_test, 500 of 1000.

    Raises:
        ConfigError: in use, a start beyond the model's last step.
    """

    name = "patched-diffusion"
    needs = (RestoresBoxes,)

    @configured("score.restore")
    def __init__(self, *, start: Step = 500) -> None:
        self.start = start

    def __call__(self, model: RestoresBoxes, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S)."""
        yield Restored(model.restore_boxes(x, self.start))
