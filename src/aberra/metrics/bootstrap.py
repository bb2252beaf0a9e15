"""Intervals by resampling patients, streaming: the voxels of a patient are seen once."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.voxel import VoxelHistogram, curve_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

BITS = 18
"""Resolution of the replicates' histograms: 0.1 % of the score. Coarser ones tie the top ranks of
equalised intensities, which all lie close under 1. Address space for all bins is reserved; only
those of scores that occur become memory."""


class PatientBootstrap:
    """Poisson bootstrap of pooled voxel metrics.

    Every patient gets, in each replicate, a weight drawn from Poisson(1) by a generator seeded with
    the patient's name, which is the bootstrap in the limit of many patients and needs no list of
    them. Memory is replicates × bins that occur.

    Args:
        replicates: how many.
        seed: of the weights.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.bootstrap import PatientBootstrap
        >>> bootstrap = PatientBootstrap(replicates=1000)
        >>> weights = bootstrap.weights("p01")
        >>> weights.shape, bool(abs(weights.mean() - 1) < 0.1)
        ((1000,), True)
        >>> bool((weights == PatientBootstrap(replicates=1000).weights("p01")).all())
        True
    """

    def __init__(self, replicates: int = 500, seed: int = 0) -> None:
        self.replicates = replicates
        self.seed = seed
        self.positives = np.zeros((replicates, 1 << BITS), dtype=np.int64)
        self.negatives = np.zeros((replicates, 1 << BITS), dtype=np.int64)
        self.patients: set[str] = set()

    def weights(self, patient: str) -> NDArray[np.int64]:
        """The patient's weight in every replicate, the same for every method."""
        digest = int.from_bytes(sha256(patient.encode()).digest()[:8], "little")
        return np.random.default_rng([self.seed, digest]).poisson(1.0, self.replicates)

    def add(self, patient: str, scores: NDArray[np.float32], truth: NDArray[np.bool]) -> None:
        """Add voxels of a patient."""
        histogram = VoxelHistogram(BITS)
        histogram.add(scores, truth)
        weights = self.weights(patient)
        self.patients.add(patient)
        for bins, counts in ((self.positives, histogram.positives), (self.negatives, histogram.negatives)):
            used = np.flatnonzero(counts)
            bins[:, used] += weights[:, None] * counts[used]

    def samples(self) -> dict[str, NDArray[np.float64]]:
        """AP, AUROC and ⌈Dice⌉ of every replicate; NaN where a replicate drew no positives."""
        found: dict[str, list[float]] = {"ap": [], "auroc": [], "best_dice": []}
        for positives, negatives in zip(self.positives, self.negatives, strict=True):
            curve = curve_of(positives, negatives, shift=31 - BITS)
            for name, values in found.items():
                value = getattr(curve, name)
                values.append(np.nan if value is None else value)
        return {name: np.array(values) for name, values in found.items()}

    def intervals(
        self, samples: dict[str, NDArray[np.float64]] | None = None
    ) -> dict[str, tuple[float, float] | None]:
        """95 % percentile intervals of :meth:`samples`; None with fewer than two patients, which
        say nothing about spread.
        """
        if len(self.patients) < 2:
            return {"ap": None, "auroc": None, "best_dice": None}
        return {name: interval(values) for name, values in (samples or self.samples()).items()}


def interval(samples: NDArray[np.float64]) -> tuple[float, float] | None:
    """95 % percentile interval; None if most samples are undefined."""
    known = samples[np.isfinite(samples)]
    if known.size < 0.5 * samples.size or not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float | None],
    patients: Sequence[str],
    *,
    replicates: int = 500,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of a case-level statistic.

    Args:
        statistic: takes indices of the cases drawn (with repetition); None where undefined.
        patients: the patient of every case; a patient's cases are drawn together.
        replicates: how many.
        seed: of the draws.
    """
    own: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        own.setdefault(patient, []).append(index)
    names = sorted(own)
    if len(names) < 2:
        return None
    members = [np.array(own[name]) for name in names]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(replicates):
        drawn = np.concatenate([members[pick] for pick in rng.integers(len(names), size=len(names))])
        value = statistic(drawn)
        values.append(np.nan if value is None else value)
    return interval(np.array(values))


def with_intervals(
    statistics: Mapping[str, Callable[[NDArray[np.int64]], float | None]],
    patients: Sequence[str],
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Each statistic (see :func:`bootstrap`) of all cases by name, None where undefined, else with
    ``NAME_interval``.
    """
    found: dict[str, Any] = {}
    for name, statistic in statistics.items():
        found[name] = statistic(np.arange(len(patients))) if patients else None
        if found[name] is not None:
            found[f"{name}_interval"] = bootstrap(statistic, patients, replicates=replicates, seed=seed)
    return found
