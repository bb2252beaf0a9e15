"""Are lesions given the right label value? Dice of each, over the cases and pooled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.voxel import Overlap

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class KindOverlap:
    """Overlap of the voxels of each label value with those of the same value in the truth.

    Attributes:
        pooled: label value to the counts of all cases.
        dice: label value to the Dice of each case whose truth has it.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.kinds import KindOverlap
        >>> KindOverlap().add(np.array([0, 1, 1, 4]), np.array([0, 1, 4, 4], dtype=np.uint8))
        {'1': 0.6666666666666666, '4': 0.6666666666666666}
    """

    pooled: dict[int, Overlap] = field(default_factory=dict)
    dice: dict[int, list[float]] = field(default_factory=dict)

    def add(self, drawn: NDArray[np.generic], truth: NDArray[np.uint8]) -> dict[str, float | None]:
        """Add a case's label values, any equal shape, 0 for no lesion.

        Returns:
            Its Dice by label value, as text; None where its truth has none of it.
        """
        found: dict[str, float | None] = {}
        for value in sorted({int(each) for each in np.union1d(drawn, truth)} - {0}):
            overlap = Overlap.of(drawn == value, truth == value)
            self.pooled[value] = self.pooled.get(value, Overlap()) + overlap
            own = self.dice.setdefault(value, [])
            found[str(value)] = dice = overlap.dice if overlap.actual else None
            if dice is not None:
                own.append(dice)
        return found

    def summary(self, protocol: str | None) -> dict[str, Any]:
        """By label value: Dice pooled (``dice``), its mean and standard deviation over the
        ``cases`` that have it.
        """
        return {
            str(value): {
                "protocol": protocol,
                "cases": len(own := self.dice[value]),
                "dice": overlap.dice,
                "dice_mean": float(np.mean(own)) if own else None,
                "dice_std": float(np.std(own)) if own else None,
            }
            for value, overlap in sorted(self.pooled.items())
        }
