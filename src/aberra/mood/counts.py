"""Voxels as the challenge reads them, float16 in [0, 1], counted by their bit pattern: exact, ties
included, and of one size whatever the scans'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.metrics.voxel import Curve, curve_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 0x3C00 + 1
"""float16 numbers from 0 to 1; the pattern of 1 is 0x3C00."""


def count(values: NDArray[np.float32], truth: NDArray[np.bool]) -> NDArray[np.int64]:
    """Negatives and positives by score, shape (2, BINS).

    Args:
        values: in [0, 1], any shape.
        truth: of the same shape.

    Examples:
        >>> import numpy as np
        >>> from aberra.mood.counts import count, curve
        >>> scores, truth = np.float32([0.1, 0.35, 0.4, 0.8]), np.array([0, 1, 0, 1], bool)
        >>> round(curve(count(scores, truth)).ap, 3)
        0.833
    """
    half = values.astype(np.float16).ravel() + np.float16(0)  # −0 becomes 0
    keys, marks = half.view(np.uint16), truth.ravel()
    return np.stack([np.bincount(keys[chosen], minlength=BINS) for chosen in (~marks, marks)])


def curve(counts: NDArray[np.int64] | NDArray[np.float64]) -> Curve:
    """Average precision and AUROC of such counts; they may be weighted."""
    return curve_of(counts[1], counts[0], shift=16)


class Batches:
    """Average precision over fixed random batches of scans, as the challenge computes it.

    Every scan is in one batch a pass. Which, depends on the names and the seed alone, so that it is
    the same for all submissions. A batch without an anomaly has no AP and is left out.

    Deviation: how a number of scans that the batch size does not divide was treated is not
    published; here the last batch is smaller.

    Args:
        cases: their names.
        size: scans a batch.
        passes: how often the scans are dealt out.
        seed: of the dealing.
    """

    def __init__(self, cases: Sequence[str], *, size: int = 20, passes: int = 2, seed: int = 0) -> None:
        names = sorted(cases)
        orders = [np.random.default_rng([seed, turn]).permutation(len(names)) for turn in range(passes)]
        self.batch_of = [
            {names[index]: place // size for place, index in enumerate(order)} for order in orders
        ]
        many = -(-len(names) // size)
        self.counts = np.zeros((passes, many, 2, BINS), dtype=np.int64)

    def add(self, case: str, counts: NDArray[np.int64]) -> None:
        """Count a case in its batch of every pass."""
        for turn, batches in enumerate(self.batch_of):
            self.counts[turn, batches[case]] += counts

    def ap(self) -> list[list[float | None]]:
        """Average precision by pass and batch; None of a batch without an anomaly."""
        return [[curve(batch).ap for batch in turn] for turn in self.counts]
