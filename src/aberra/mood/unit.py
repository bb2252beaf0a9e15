"""A detector's own units into [0, 1], where the challenge wants maps and scores, without changing
their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aberra.detector.calibration import FIXED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.detector.calibration import Calibration

PROBABILITY = "the map itself, a probability"
HALVED = "m / (m + h), h being twice the healthy 99.9 % quantile"
RANK = "rank among the healthy scores, interpolated"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Strictly rising transforms into [0, 1] that a calibration fixes.

    A map value m becomes ``m / (m + h)``, ½ at h, the top of the colour scale (twice the healthy
    99.9 % quantile); a probability stays. Healthy quantiles themselves would put every lesion above
    .999, where float16, as which the challenge reads maps, knows two values.

    A case score becomes its rank among the n healthy scores over n + 1, between ranks by
    interpolation; that is 1 − p where p-values step. Beyond the outermost healthy scores, which are
    w apart, the last 1 / (n + 1) is shared by ``w / (w + d)``, d being the distance to them, so that
    no two scores tie as p-values would. Without healthy scores it is treated as a map value is.

    Attributes:
        half: map value that becomes ½; 0 where maps are probabilities.
        healthy: case scores of healthy cases, sorted.

    Examples:
        >>> import numpy as np
        >>> from aberra.mood.unit import Unit
        >>> unit = Unit(half=2.0, healthy=(1.0, 2.0, 3.0))
        >>> unit.map(np.float32([0, 2, 6])).tolist()
        [0.0, 0.5, 0.75]
        >>> [round(unit.score(s), 3) for s in (1.0, 1.5, 2.0, 3.0, 5.0)]
        [0.25, 0.375, 0.5, 0.75, 0.875]
    """

    half: float
    healthy: tuple[float, ...] = ()

    @classmethod
    def of(cls, calibration: Calibration) -> Unit:
        """What a calibration fixes."""
        probability = calibration.default == FIXED or calibration.scale == {"low": 0.0, "high": 1.0}
        return cls(half=0.0 if probability else calibration.scale["high"], healthy=tuple(calibration.scores))

    @property
    def words(self) -> dict[str, str]:
        """How ``map`` and ``score`` are transformed."""
        way = HALVED if self.half else PROBABILITY
        return {"map": way, "score": RANK if self.healthy else way}

    def map(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map values of 0 or more, any shape."""
        if not self.half:
            return np.clip(values, 0, 1)
        return (values / (values + np.float32(self.half))).astype(np.float32)

    def score(self, value: float) -> float:
        """A case score."""
        if not self.healthy:
            return float(self.map(np.array(value, np.float32)))
        known = np.array(self.healthy)
        n, low, high = known.size, float(known[0]), float(known[-1])
        width = (high - low) or abs(high) or 1.0
        if value > high:
            return 1 - width / (width + value - high) / (n + 1)
        if value < low:
            return width / (width + low - value) / (n + 1)
        places, ranks = np.unique(known, return_index=True)
        ends = np.append(ranks[1:], n)  # of equal scores the last rank
        return float(np.interp(value, places, ends / (n + 1)))
