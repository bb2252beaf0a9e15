"""Histogram matching to a reference of the healthy cohort."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aberra.errors import ConfigError
from aberra.options import Within, configured, conforming

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aberra.volume import Volume


class HistogramMatch:
    """Maps each scan's quantiles inside the mask to the healthy cohort's median quantiles,
    piecewise linearly.

    Nyúl & Udupa 1999 (standard scale); Heer 2021 matches, patient-wise, to one training patient.

    Args:
        points: landmarks between the 1st and the 99th percentile.

    Deviation: the reference is the median over up to ``REFERENCES`` healthy cases instead of one
    case, so that it does not hang on the choice of a patient.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.histogram_match import HistogramMatch
        >>> scan = Volume(data=np.arange(64.0).reshape(1, 4, 4, 4), affine=np.eye(4))
        >>> scan = scan.with_(mask=np.ones(scan.shape, dtype=bool))
        >>> match = HistogramMatch(points=3)
        >>> match.fit([scan])
        >>> brighter = scan.with_(data=7 * scan.data)
        >>> float(np.median(match(brighter).data)) == float(np.median(scan.data))
        True
    """

    name = "histogram-match"
    version = 1
    REFERENCES = 50

    @configured("histogram-match")
    def __init__(self, *, points: Annotated[int, Within(2, 10_000)] = 21) -> None:
        self.points = points
        self.reference: list[list[float]] = []

    def fit(self, volumes: Iterable[Volume]) -> None:
        """Learn the reference quantiles, one list a channel."""
        found = [self._landmarks(volume) for volume in islice(volumes, self.REFERENCES)]
        self.reference = np.median(found, axis=0).tolist() if found else []

    def __call__(self, volume: Volume) -> Volume:
        """Return the matched volume; values beyond the landmarks are shifted along."""
        if not self.reference:
            raise ConfigError("histogram-match: no reference learnt; fit the recipe on healthy cases first")
        mask = volume.judged
        data = np.zeros_like(volume.data)
        for index, (source, target) in enumerate(zip(self._landmarks(volume), self.reference, strict=True)):
            inside = volume.data[index][mask]
            rising = np.maximum.accumulate(source + np.arange(len(source)) * 1e-6)
            matched = np.interp(inside, rising, target)
            matched += np.maximum(inside - source[-1], 0) + np.minimum(inside - source[0], 0)
            data[index][mask] = matched
        return volume.with_(data=data)

    def state(self) -> dict[str, Any]:
        """The learnt reference."""
        return {"reference": self.reference}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take a learnt reference.

        Raises:
            ConfigError: it is not one list of ``points`` numbers a channel.
        """
        found = conforming(state.get("reference"), list[list[float]], "histogram-match.reference")
        if any(len(each) != self.points for each in found):
            raise ConfigError(f"histogram-match.reference: expected {self.points} numbers a channel")
        self.reference = found

    def _landmarks(self, volume: Volume) -> np.ndarray:
        levels = np.linspace(1, 99, self.points)
        return np.stack([np.percentile(channel[volume.judged], levels) for channel in volume.data])
