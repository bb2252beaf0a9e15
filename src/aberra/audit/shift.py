"""How far a scan's scanner is from the reference's, in a space in which lesions count for little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from aberra.audit.features import shift_features
from aberra.detector.calibration import conformal_p
from aberra.errors import CalibrationError
from aberra.foreground import nonzero

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

FEWEST = 8
"""Reference scans below which no distance is stated."""

FLOOR = 0.02
"""Least spread of a feature, in logs or shares of the scan's median: less is no shift."""

NUISANCE = 4.0
"""Weight of the scatter that planted lesions cause, over that of the healthy scans."""

PLANTED = 4
"""Lesions that are planted into a reference scan, one by one, to see which features they move."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShiftScore:
    """Distance of a scan from healthy reference scans, of which planted lesions are forgiven.

    ``s = sqrt(zᵀ C⁻¹ z / F)``, z the features over the reference's median and spread (1.48 times
    the median absolute deviation), ``C = R + w·L``: R the reference's covariance shrunk towards
    the identity (Ledoit and Wolf 2004, J Multivar Anal 88(2)), L the mean of ``ΔΔᵀ``, Δ what a lesion
    planted into a reference scan moves. Directions in which lesions move a scan are therefore wide,
    and a lesion goes a short way.

    Attributes:
        names: of the features, F.
        reference: features of the reference scans, shape (n, F).
        lesions: what planted lesions moved, shape (m, F); none where m is 0.
        each: scores of the reference scans, each by the others, in order.

    Examples:
        >>> import numpy as np
        >>> from aberra.audit.shift import ShiftScore
        >>> seen = np.random.default_rng(0).normal(size=(30, 3))
        >>> score = ShiftScore.of(seen, np.zeros((0, 3)), ("noise", "blur", "contrast"))
        >>> score.p_value(score([0.0, 6.0, 0.0])) == 1 / 31, score.reasons([0.0, 6.0, 0.0])[0]
        (True, 'blur')
    """

    names: tuple[str, ...]
    reference: NDArray[np.float64]
    lesions: NDArray[np.float64]
    each: tuple[float, ...]

    @classmethod
    def of(
        cls, reference: NDArray[np.float64], lesions: NDArray[np.float64], names: Sequence[str]
    ) -> ShiftScore:
        """Learn from features of healthy scans (n, F) and what lesions move (m, F).

        Raises:
            CalibrationError: fewer than :data:`FEWEST` scans.
        """
        if len(reference) < FEWEST:
            raise CalibrationError(
                f"{len(reference)} healthy reference scan(s); a shift can be told from {FEWEST} on, twenty or more are good"
            )
        one_out = [
            _Space.of(np.delete(reference, index, axis=0), lesions).distance(reference[index])
            for index in range(len(reference))
        ]
        return cls(names=tuple(names), reference=reference, lesions=lesions, each=tuple(one_out))

    def __call__(self, features: Sequence[float] | NDArray[np.float64]) -> float:
        """The score of a scan with features (F,); a scan of the reference has about 1."""
        return self._space.distance(np.asarray(features, dtype=np.float64))

    def p_value(self, score: float) -> float:
        """(1 + reference scans that score as high) / (n + 1).

        The reference scans' own scores leave each out in turn (Barber et al. 2021, Ann Stat 49(1)),
        so a healthy scan of the same scanner comes to p ≤ α about α of the time, but no bound is
        proven.
        """
        return conformal_p(self.each, score)

    def without(self, index: int) -> float:
        """The score of a reference scan by the others."""
        return self.each[index]

    def reasons(self, features: Sequence[float] | NDArray[np.float64], count: int = 3) -> tuple[str, ...]:
        """Names of the features that a scan departs in most, over the reference's spread."""
        away = np.abs(self._space.standard(np.asarray(features, dtype=np.float64)))
        return tuple(self.names[index] for index in np.argsort(-away, kind="stable")[:count])

    def nearest(
        self, features: Sequence[float] | NDArray[np.float64], among: NDArray[np.float64], count: int
    ) -> NDArray[np.intp]:
        """Indices of the scans ``among`` (N, F) whose scanner is most like that of one with features
        (F,).
        """
        gap = (among - np.asarray(features, dtype=np.float64)) / self._space.width
        return np.argsort(np.einsum("if,fg,ig->i", gap, self._space.inverse, gap), kind="stable")[:count]

    @cached_property
    def _space(self) -> _Space:
        return _Space.of(self.reference, self.lesions)


def moved_by_lesions(volume: Volume, seed: Sequence[int], count: int = PLANTED) -> NDArray[np.float64]:
    """What lesions of our own move in a healthy scan's features, shape (count, F).

    They are blobs, ellipsoids and tubes of 4 to 25 mm, brighter, darker or of another texture; none
    comes from the diseases of :mod:`aberra.synthesis.profiles`, by which the score is judged.
    """
    from aberra.synthesis.lesions import draw_lesion, plant

    before, found = shift_features(volume), []
    inside = nonzero(volume.data) if volume.mask is None else volume.mask
    healthy = volume.with_(lesion=None, kinds=None, mask=inside)
    for index in range(count):
        rng = np.random.default_rng([*seed, index])
        lesion = draw_lesion(healthy, rng, sources=("hyper", "hypo", "texture"), radius_mm=(4.0, 25.0))
        after, _ = plant(healthy, lesion)
        found.append(shift_features(after.with_(mask=volume.mask, lesion=None)) - before)
    return np.array(found).reshape(count, len(before))


def _covariance(z: NDArray[np.float64], lesions: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.covariance import ledoit_wolf

    shrunk = np.asarray(ledoit_wolf(z, assume_centered=True)[0])
    # a feature that no reference scan varies in would have a direction without width
    shrunk = shrunk + np.diag(np.maximum(0.25 - np.diag(shrunk), 0))
    return np.asarray(shrunk + NUISANCE * lesions.T @ lesions / max(len(lesions), 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Space:
    """Centre and width of the features (F,), and their covariance in those widths (F, F)."""

    centre: NDArray[np.float64]
    width: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, reference: NDArray[np.float64], lesions: NDArray[np.float64]) -> _Space:
        centre = np.median(reference, axis=0)
        width = np.maximum(1.4826 * np.median(np.abs(reference - centre), axis=0), FLOOR)
        covariance = _covariance((reference - centre) / width, lesions / width)
        return cls(centre=centre, width=width, covariance=covariance)

    @cached_property
    def inverse(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.covariance), dtype=np.float64)

    def standard(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return (features - self.centre) / self.width

    def distance(self, features: NDArray[np.float64]) -> float:
        z = self.standard(features)
        return float(np.sqrt(z @ np.linalg.solve(self.covariance, z) / len(z)))
