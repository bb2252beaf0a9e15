"""Numbers into decisions: thresholds and p-values from healthy scans that the model has not learnt
from.

Stored as ``calibration.json`` beside the weights, never inside them: recalibrating for a new site
does not touch the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import CalibrationError, ConfigError, expect_known
from aberra.options import Maybe, checked, complete, conforming

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

DEFAULT_PROTOCOL = "healthy-fpr-1"
GIVEN = "as-given"
"""Protocol of masks that came as masks."""

FIXED = "fixed-0.5"
"""0.5 of a probability (Wolleb et al. 2022, arXiv 2112.03145); the default of maps that are
probabilities."""
HEALTHY_PROTOCOLS = {
    "healthy-fpr-1": 0.99,
    "healthy-fpr-5": 0.95,
    "healthy-fpr-10": 0.90,
    "healthy-percentile-98": 0.98,
    "healthy-percentile-99.9": 0.999,
}
"""Protocol name to quantile of the voxels inside the mask of healthy cases, pooled.

``healthy-fpr-5`` is Konukoglu & Glocker's rule as used by Heer 2021, ``healthy-percentile-98`` that
of Baur et al. 2018 (arXiv 1804.04488). Deviation: Heer searches the threshold by golden section on
*training* voxels (:func:`golden_threshold`); ours is the quantile itself, which is what the search
converges to, on healthy cases that were held out.
"""

MIN_GROUP = 19
"""Fewest cases of a group for p-values of its own: with n cases the smallest p-value is 1 / (n +
1)."""

KEY_BITS = 20
"""Histogram resolution: the sign, 8 exponent and 11 mantissa bits of a float32, i.e. 0.05 % of the
value."""


class ScoreHistogram:
    """Streams non-negative float32 scores into a histogram over their bit patterns.

    The bit pattern of a non-negative float32 grows with its value, so equal-width bins of the
    pattern have a relative width of 2⁻¹¹ everywhere and no range has to be known in advance.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(1 << KEY_BITS, dtype=np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values, any shape."""
        keys = np.ascontiguousarray(values, dtype=np.float32).ravel().view(np.uint32) >> np.uint32(
            32 - KEY_BITS
        )
        self.counts += np.bincount(keys, minlength=len(self.counts))

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """Smallest bin edge with at least a share ``q`` of the values at or below it."""
        cumulated = np.cumsum(self.counts)
        index = int(np.searchsorted(cumulated, q * cumulated[-1]))
        return 0.0 if index == 0 else self.edge(index + 1)

    @staticmethod
    def edge(index: int) -> float:
        """Lower edge of a bin as a score."""
        return float(np.uint32(index << (32 - KEY_BITS)).view(np.float32))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds and healthy case scores.

    Attributes:
        thresholds: protocol name to map value; a voxel is anomalous strictly above
            it. :data:`FIXED` is among them where the map is a probability.
        scores: case scores of the healthy cases, sorted.
        groups: group value to sorted scores, for p-values within a site, sex or age band (Mondrian
            conformal).
        group_by: the manifest column of ``groups``; empty without.
        scale: map values of the fixed colour scale: healthy 95 % quantile and 2 × the healthy 99.9
            %; 0 and 1 of probabilities.
        n_cases: healthy cases used.
        n_voxels: voxels counted.
        default: protocol of ``mask.nii.gz``.
        data_hash: of the calibration cases.
        notes: what a reader must know.
    """

    thresholds: dict[str, float]
    scores: list[float]
    scale: dict[str, float]
    n_cases: Maybe
    n_voxels: int
    groups: dict[str, list[float]] = field(default_factory=dict)
    group_by: str = ""
    default: str = DEFAULT_PROTOCOL
    data_hash: str = ""
    notes: list[str] = field(default_factory=list)

    @classmethod
    def from_healthy(
        cls,
        voxels: ScoreHistogram,
        scores: Sequence[float],
        *,
        groups: Sequence[str] | None = None,
        group_by: str = "",
        data_hash: str = "",
        notes: Sequence[str] = (),
        probability: bool = False,
    ) -> Calibration:
        """Calibrate from what healthy cases gave.

        Args:
            voxels: map values inside the masks.
            scores: one score a case; empty if only voxels can be trusted (lesion-free slices of
                patients).
            groups: one group value a score.
            group_by: the column the groups come from.
            data_hash: identifies the cases.
            notes: warnings to keep.
            probability: the map is a lesion's probability, which has a threshold of its own.

        Raises:
            CalibrationError: no voxels.
        """
        if not voxels.total:
            raise CalibrationError(
                "calibration: no healthy voxels; give at least one healthy case with a non-empty mask"
            )
        low, high = voxels.quantile(0.95), voxels.quantile(0.999)
        scale = {"low": low, "high": max(2 * high, low + 1e-6)}
        thresholds = {name: voxels.quantile(q) for name, q in HEALTHY_PROTOCOLS.items()}
        noted = list(notes)
        if 0 < len(scores) < MIN_GROUP:
            noted.append(
                f"{len(scores)} healthy case(s): the smallest possible p-value is {1 / (len(scores) + 1):.3f}"
            )
        by_group: dict[str, list[float]] = {}
        for group, score in zip(groups or [], scores, strict=False):
            if group:
                by_group.setdefault(group, []).append(float(score))
        small = [name for name, members in by_group.items() if len(members) < MIN_GROUP]
        noted.extend(
            f"{group_by}={name}: {len(by_group.pop(name))} case(s), fewer than {MIN_GROUP}; pooled p-values used"
            for name in small
        )
        return cls(
            thresholds=thresholds | ({FIXED: 0.5} if probability else {}),
            scores=sorted(float(score) for score in scores),
            scale={"low": 0.0, "high": 1.0} if probability else scale,
            n_cases=len(scores),
            n_voxels=voxels.total,
            groups={name: sorted(members) for name, members in sorted(by_group.items())},
            group_by=group_by,
            default=FIXED if probability else DEFAULT_PROTOCOL,
            data_hash=data_hash,
            notes=noted,
        )

    def adapted(self, site: Calibration) -> Calibration:
        """This calibration moved to another site, as far as few healthy scans of it can tell.

        Scores of scan i are taken as ``log s_i ~ N(a, σ²)``, and a of another site as away from
        here by ``δ ~ N(0, τ²)``. With k scans there, whose mean log lies d from the one of the n here,
        ``τ² = max(d² − σ²(1/k + 1/n), 0)`` and δ is estimated by ``w·d``, ``w = τ² / (τ² + σ²/k)``
        (empirical Bayes, as James and Stein 1961). The scores here times ``exp(w·d)`` and those of
        the site are the new ones; each threshold goes the same share w of the way, in logs, to
        the one of the site's voxels. Where nothing differs, all stays; the more scans, and the
        farther they lie off, the more theirs count.

        The p-values have no guarantee: moved scores are a model of the site's. With twenty scans or
        more, calibrate on them alone.

        Args:
            site: measured on the site's healthy scans alone.

        Raises:
            CalibrationError: one of the two has fewer than three case scores.
        """
        fewest = 3
        if min(len(self.scores), len(site.scores)) < fewest:
            raise CalibrationError(
                f"to adapt, {fewest} healthy case scores are needed here and there; there are {len(self.scores)} and {len(site.scores)}"
            )
        floor = 1e-3 * float(np.median(self.scores)) + 1e-12
        here, there = (np.log(np.maximum(each, floor)) for each in (self.scores, site.scores))
        spread, away = float(here.var(ddof=1)), float(there.mean() - here.mean())
        between = max(away**2 - spread * (1 / len(there) + 1 / len(here)), 0.0)
        share = between / (between + spread / len(there)) if between else 0.0

        def moved(old: float, new: float) -> float:
            return float(old * (new / old) ** share) if min(old, new) > 0 else (1 - share) * old + share * new

        learnt = [float(score * np.exp(share * away)) for score in self.scores]
        told = (
            f"adapted from {len(self.scores)} healthy cases by {len(site.scores)} of another site: scores times "
            f"{np.exp(share * away):.3g}, thresholds {share:.0%} of the way; p-values have no guarantee"
        )
        same = self.scale == {"low": 0.0, "high": 1.0}
        return replace(
            self,
            thresholds={
                name: value if name == FIXED else moved(value, site.thresholds.get(name, value))
                for name, value in self.thresholds.items()
            },
            scores=sorted([*learnt, *site.scores]),
            scale=self.scale
            if same
            else {name: moved(value, site.scale[name]) for name, value in self.scale.items()},
            n_cases=len(learnt) + len(site.scores),
            n_voxels=site.n_voxels,
            groups={},
            group_by="",
            data_hash=site.data_hash,
            notes=[*(note for note in site.notes if "smallest possible p-value" not in note), told],
        )

    def threshold(self, protocol: str | None = None) -> tuple[str, float]:
        """Return a protocol's name and value; the default one for None.

        Raises:
            ConfigError: the protocol is not known.
        """
        name = protocol or self.default
        expect_known("threshold protocol", [name], self.thresholds)
        return name, self.thresholds[name]

    def p_value(self, score: float, group: str | None = None) -> float | None:
        """Split-conformal p-value: (1 + number of healthy scores ≥ score) / (n + 1).

        For a healthy case exchangeable with the calibration cases, P(p ≤ α) ≤ α for every α (Vovk
        et al. 2005; Bates et al. 2023, arXiv 2104.08279, eq. 2). Within a group the guarantee holds
        for the group. None where no healthy case scores are known.
        """
        reference = self.groups.get(group or "", self.scores)
        if not reference:
            return None
        return conformal_p(reference, score)

    def to_json(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """Rebuild from :meth:`to_json`.

        Raises:
            ConfigError: something is missing or cannot be.
        """
        found = cls(
            **complete(cls, checked(cls, conforming(content, dict[str, Any], "calibration")), "calibration")
        )
        expect_known("default threshold protocol", [found.default], found.thresholds)
        if set(found.scale) != {"low", "high"} or not found.scale["low"] < found.scale["high"]:
            raise ConfigError(f"scale={found.scale}: expected low below high")
        if any(list(each) != sorted(each) for each in (found.scores, *found.groups.values())):
            raise ConfigError("scores: expected in ascending order")
        return found


def conformal_p(healthy: ArrayLike, score: float) -> float:
    """(1 + healthy scores that are as high, of n) / (n + 1)."""
    values = np.asarray(healthy, dtype=float)
    return float((1 + (values >= score).sum()) / (values.size + 1))


def conformal_limit(healthy: ArrayLike, level: float) -> float:
    """The value that a healthy case goes beyond with a probability of at most ``level``.

    The ⌈(n + 1)(1 − level)⌉-th smallest of n healthy values: a further one that is exchangeable with
    them is greater in at most that share of all draws (Vovk et al. 2005).

    Raises:
        CalibrationError: too few values for the level.

    Examples:
        >>> from aberra.detector.calibration import conformal_limit
        >>> conformal_limit(range(1, 20), 0.05), conformal_limit(range(1, 20), 0.1)
        (19.0, 18.0)
    """
    values = np.sort(np.asarray(healthy, dtype=float))
    rank = ceil((values.size + 1) * (1 - level) - 1e-9)
    if rank > values.size:
        raise CalibrationError(
            f"{values.size} healthy case(s) for a level of {level:g}; it needs {ceil(1 / level - 1e-9) - 1} or more"
        )
    return float(values[rank - 1])


def golden_threshold(
    share_above: Callable[[float], float], low: float, high: float, rate: float, *, tolerance: float = 1e-6
) -> float:
    """The threshold whose share of healthy voxels above it is nearest to a rate, by golden-section
    search.

    Heer 2021 (ETH Zurich), after Konukoglu & Glocker: ``argmin_t |FPR(t) − rate|``. A share of voxels
    falls in steps, on which two probes tie; then the side is taken on which the rate lies. So where
    a step has the rate itself the search ends at that step's lower edge, which is the exact
    quantile.

    Args:
        share_above: threshold to the share of healthy values strictly above it; does not rise.
        low: a threshold that is not too high.
        high: one that is not too low.
        rate: wanted share, in (0, 1).
        tolerance: greatest distance from the edge, as a share of ``high - low``.

    Raises:
        ConfigError: an empty interval or a rate outside (0, 1).

    Examples:
        >>> import numpy as np
        >>> from aberra.detector.calibration import golden_threshold
        >>> values = np.random.default_rng(0).random(1000)
        >>> found = golden_threshold(lambda t: (values > t).mean(), 0.0, 1.0, 0.05)
        >>> exact = np.quantile(values, 0.95, method="inverted_cdf")
        >>> bool(abs(found - exact) <= 1e-6)
        True
    """
    if not low < high or not 0 < rate < 1:
        raise ConfigError(
            f"low={low:g}, high={high:g}, rate={rate:g}: expected low below high and a rate in (0, 1)"
        )
    golden = (5**0.5 - 1) / 2
    narrow = tolerance * (high - low)

    def probe(at: float) -> tuple[float, float]:
        return at, share_above(at) - rate

    left, right = probe(high - golden * (high - low)), probe(low + golden * (high - low))
    best = min((abs(miss), at) for at, miss in (left, right))
    while high - low > narrow:
        tie = abs(left[1]) == abs(right[1])
        if abs(left[1]) < abs(right[1]) or (tie and right[1] <= 0):
            high, right = right[0], left
            left = found = probe(high - golden * (high - low))
        else:
            low, left = left[0], right
            right = found = probe(low + golden * (high - low))
        best = min(best, (abs(found[1]), found[0]))
    return best[1]
