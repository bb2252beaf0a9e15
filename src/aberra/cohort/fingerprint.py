"""What a cohort looks like in numbers: grids, coverage and intensities, after nnU-Net's data
fingerprint.

Axes are in the prepared order `SPL` (superior, posterior, left; of an image: across it, rows,
columns), whatever the order in the files, so that the numbers of two cohorts compare.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from aberra.errors import ConfigError, MismatchError
from aberra.failures import refuse
from aberra.foreground import CUT_AWAY, body, box_of, brain_alone, cut_away, inside_tissue, nonzero
from aberra.options import NotNegative, Share, checked, complete, conforming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aberra.cohort.manifest import Cohort
    from aberra.volume import Volume

Kind = Literal["volume", "image"]
Triple = tuple[float, float, float]

PERCENTILES = (0.5, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 98.0, 99.0, 99.5)
"""Levels at which foreground intensities are described."""

GRID_VOXELS = 1_000_000
"""Volumes are looked at on a strided grid of at most about this many voxels."""

CASE_SAMPLES = 20_000
"""Intensities that one case gives to the pool; the same for all, so that no case outweighs
another."""

POOL_SAMPLES = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Numbers that describe a cohort; :mod:`aberra.prepare.plan` reads them, ``doctor`` compares
    them.

    Attributes:
        n_cases: how many cases were looked at.
        kind: ``"volume"`` or ``"image"``.
        channels: channel names, in order.
        shape: ``median``, ``min`` and ``max`` grid size along S, P, L.
        spacing: ``median``, ``min`` and ``max`` voxel size in mm along S, P, L.
        orientations: axis codes in the files, with counts.
        dtypes: stored data types, with counts.
        intensity: per channel ``percentiles`` (level as text to value), ``mean``, ``std``, all
            inside the foreground and pooled over cases; ``profile``, the median over cases of each
            case's percentiles divided by its own 98th; ``spread``, the 95th percentile of the
            cases' distances to that profile (see :func:`contrast_distance`); and ``zero_fraction``,
            the median share of exact zeros.
        extent_mm: ``median``, ``p95`` and ``max`` size in mm of the foreground's bounding box along
            S, P, L.
        foreground: how the foreground was found (``mask``, ``non-zero``, ``otsu``, ``all``), with
            counts.
        foreground_fraction: median share of voxels in the foreground.
        has_mask: whether every case came with a mask.
        skull_stripped: a guess; None for images.
        skull_reason: what the guess rests on.
        anisotropy: median ratio of the largest to the smallest voxel edge, over axes longer than
            one.
    """

    n_cases: int
    kind: Kind
    channels: tuple[str, ...]
    shape: dict[str, tuple[int, int, int]]
    spacing: dict[str, Triple]
    orientations: dict[str, int]
    dtypes: dict[str, int]
    intensity: dict[str, dict[str, Any]]
    extent_mm: dict[str, Triple]
    foreground: dict[str, int]
    foreground_fraction: float
    has_mask: bool
    skull_stripped: bool | None
    skull_reason: str
    anisotropy: float

    def percentile(self, channel: str, level: float) -> float:
        """Foreground intensity of a channel at one of :data:`PERCENTILES`."""
        return float(self.intensity[channel]["percentiles"][f"{float(level):g}"])

    def curve(self, channel: str) -> NDArray[np.float64]:
        """Foreground intensities of a channel at :data:`PERCENTILES`, shape (10,)."""
        return np.array([self.percentile(channel, level) for level in PERCENTILES])

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`, also after a round trip through a JSON file.

        Raises:
            ConfigError: something is missing or cannot be.
        """
        found = checked(cls, conforming(content, dict[str, Any], "fingerprint"))
        complete(cls, found, "fingerprint")
        for name in ("shape", "spacing", "extent_mm"):
            triples = {key: tuple(value) for key, value in found[name].items()}
            for key in ("median", "min" if name != "extent_mm" else "p95", "max"):
                if key not in triples:
                    raise ConfigError(f"{name}: '{key}' is missing")
            if any(value <= 0 for triple in triples.values() for value in triple) and name != "extent_mm":
                raise ConfigError(f"{name}={triples}: expected sizes above 0")
            found[name] = triples
        for channel in found["channels"]:
            numbers = conforming(found["intensity"].get(channel), dict[str, Any], f"intensity.{channel}")
            complete(Intensity, checked(Intensity, numbers, f"intensity.{channel}"), f"intensity.{channel}")
            levels = [f"{level:g}" for level in PERCENTILES]
            if {*numbers["percentiles"]} != {*levels} or len(numbers["profile"]) != len(levels):
                raise ConfigError(f"intensity.{channel}: expected a value at each of {', '.join(levels)} %")
        return cls(**(found | {"channels": tuple(found["channels"])}))


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """What :attr:`Fingerprint.intensity` has of a channel."""

    percentiles: dict[str, float]
    profile: list[float]
    spread: NotNegative
    mean: float
    std: NotNegative
    zero_fraction: Share


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one volume adds to a fingerprint; triples are along S, P, L."""

    kind: Kind
    channels: tuple[str, ...]
    shape: tuple[int, int, int]
    spacing: Triple
    orientation: str
    dtype: str
    samples: dict[str, NDArray[np.float32]]
    zero_fraction: dict[str, float]
    extent_mm: Triple
    foreground: str
    foreground_fraction: float
    stripped: bool | None
    reason: str


def fingerprint(
    cohort: Cohort,
    channels: Sequence[str] | None = None,
    *,
    limit: int | None = None,
    view: Callable[[Volume], Volume] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprint:
    """Read a cohort's scans and describe them.

    Args:
        cohort: the cases.
        channels: which channels, in which order; by default those that every case has.
        limit: look at no more than this many cases, evenly spread over the cohort.
        view: what is described of a scan, as in :meth:`aberra.prepare.Recipe.view`; None describes
            it as it was read.
        progress: called with (cases done, cases in all).

    Raises:
        MismatchError: no cases, no common channel, a missing channel, or images mixed with volumes.
        InputError: a scan cannot be read.
    """
    cases = list(cohort)
    if limit is not None and len(cases) > limit:
        cases = [cases[i] for i in np.linspace(0, len(cases) - 1, limit).round().astype(int)]
    names = tuple(channels) if channels is not None else cohort.common_channels
    if not cases or not names:
        what = "no channel that every case has" if cases else "no cases"
        raise MismatchError(f"{cohort.source}: {what}, so there is nothing to describe; name the channels")
    samples = case_samples(len(cases))
    measures, failed = [], dict[str, Exception]()
    for done, case in enumerate(cases, start=1):
        try:
            volume = case.read(names)
            measures.append(measure(volume if view is None else view(volume), samples=samples))
        except Exception as error:  # noqa: BLE001 - told below, with those of the other cases
            failed[case.case] = error
        if progress is not None:
            progress(done, len(cases))
    refuse(failed, "used")
    return summarise(measures)


def case_samples(n_cases: int) -> int:
    """How many intensities each of so many cases may give to the pool."""
    return min(CASE_SAMPLES, max(1000, POOL_SAMPLES // max(1, n_cases)))


def of_volume(volume: Volume) -> Fingerprint:
    """Fingerprint of one scan, to hold against a model's."""
    return summarise([measure(volume)])


def measure(volume: Volume, *, samples: int = CASE_SAMPLES) -> Measure:
    """Look at one volume: grid, foreground, evenly strided foreground intensities."""
    to_spl = _standard(volume)
    stride = _stride(volume.shape)
    thin = tuple(slice(None, None, step) for step in stride)
    data = volume.data[:, *thin]
    spacing = (volume.spacing[0] * stride[0], volume.spacing[1] * stride[1], volume.spacing[2] * stride[2])
    given = None if volume.mask is None else volume.mask[thin]
    found, rule, skull = _foreground(data, given, spacing)
    extent = [(part.stop - part.start) * step for part, step in zip(box_of(found), spacing, strict=True)]
    every = max(1, -(-int(found.sum()) // samples))  # the same voxels on every run
    stripped, reason = (None, "not a volume") if volume.is_image else skull
    return Measure(
        kind="image" if volume.is_image else "volume",
        channels=volume.channels,
        shape=_triple(volume.shape, to_spl),
        spacing=_triple(volume.spacing, to_spl),
        orientation=volume.orientation,
        dtype=str(volume.provenance.get("dtype", "unknown")),
        samples={name: data[index][found][::every].copy() for index, name in enumerate(volume.channels)},
        zero_fraction={name: float((data[index] == 0).mean()) for index, name in enumerate(volume.channels)},
        extent_mm=_triple(extent, to_spl),
        foreground=rule,
        foreground_fraction=float(found.mean()),
        stripped=stripped,
        reason=reason,
    )


def summarise(measures: Sequence[Measure]) -> Fingerprint:
    """Combine measures into a fingerprint.

    Raises:
        MismatchError: images mixed with volumes, or different channels.
    """
    first = measures[0]
    for each in measures:
        if (each.kind, each.channels) != (first.kind, first.channels):
            raise MismatchError(
                f"one case is a {first.kind} with channels {first.channels}, another a {each.kind} with "
                f"{each.channels}; keep them in separate manifests"
            )
    spacing = np.array([m.spacing for m in measures])
    shape = np.array([m.shape for m in measures])
    extent = np.array([m.extent_mm for m in measures])
    votes = [m.stripped for m in measures if m.stripped is not None]
    stripped = sum(votes) * 2 > len(votes) if votes else None
    reasons = Counter(m.reason for m in measures if m.stripped == stripped)
    return Fingerprint(
        n_cases=len(measures),
        kind=first.kind,
        channels=first.channels,
        shape={name: _triple(value.round().astype(int).tolist()) for name, value in _spread(shape).items()},
        spacing={name: _triple(value.tolist()) for name, value in _spread(spacing).items()},
        orientations=_counts(m.orientation for m in measures),
        dtypes=_counts(m.dtype for m in measures),
        intensity={name: _intensity(measures, name) for name in first.channels},
        extent_mm={
            "median": _triple(np.median(extent, axis=0).tolist()),
            "p95": _triple(np.percentile(extent, 95, axis=0).tolist()),
            "max": _triple(extent.max(axis=0).tolist()),
        },
        foreground=_counts(m.foreground for m in measures),
        foreground_fraction=float(np.median([m.foreground_fraction for m in measures])),
        has_mask=all(m.foreground == "mask" for m in measures),
        skull_stripped=stripped,
        skull_reason=reasons.most_common(1)[0][0],
        anisotropy=float(np.median([_anisotropy(m) for m in measures])),
    )


def contrast_distance(a: Fingerprint, b: Fingerprint, channel: str, other: str | None = None) -> float:
    """How differently two cohorts distribute intensities over tissue: 0 alike, above 0.1 mostly
    unlike.

    The Wasserstein-1 distance between the two profiles: the area between the quantile functions
    after each case is divided by its own 98th percentile, so that gain does not count and contrast
    does.

    Args:
        a: one fingerprint.
        b: the other.
        channel: a channel of ``a``.
        other: the channel of ``b``, if named differently.
    """
    return _area(a.intensity[channel]["profile"], b.intensity[other or channel]["profile"])


def _area(a: ArrayLike, b: ArrayLike) -> float:
    """Area between two quantile functions given at :data:`PERCENTILES`."""
    gap = np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))
    return float(np.trapezoid(gap, np.array(PERCENTILES) / 100))


def _scaled(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Percentiles over the 98th; data with negative values (CT) are first moved to start at zero."""
    if not samples.size:
        return np.zeros(len(PERCENTILES))
    curve = np.percentile(samples.astype(np.float64), PERCENTILES)
    curve = curve - min(0.0, curve[0])
    reach = curve[PERCENTILES.index(98.0)]
    return np.asarray(curve / (reach if reach > 0 else 1.0))


def _foreground(
    data: NDArray[np.float32], given: NDArray[np.bool] | None, spacing: tuple[float, float, float]
) -> tuple[NDArray[np.bool], str, tuple[bool, str]]:
    """The foreground (D, H, W) of (C, D, H, W) by the rules that preparation goes by, the rule, and
    whether the skull is gone, with the reason.

    A brain that was cut out leaves a background of one value and a sharp, bright edge.
    """
    inside = nonzero(data)
    if cut_away(data[0], inside):
        stripped = True, "a background of one value meets tissue at a sharp edge"
    elif brain_alone(data[0], inside, spacing):
        stripped = True, "a background of one value, and the rest has no more than a brain's size"
    elif inside.mean() > 1 - CUT_AWAY:
        stripped = False, f"less than {CUT_AWAY:.0%} of the scan is background of one value"
    else:
        stripped = False, "the background is of one value, but tissue fades into it as air does"
    if given is not None and given.any():
        return given, "mask", stripped
    if stripped[0]:
        return inside, "non-zero", stripped
    found = body(data[0])
    return (np.ones_like(found), "all", stripped) if inside_tissue(found) else (found, "otsu", stripped)


def _standard(volume: Volume) -> tuple[int, int, int]:
    """Which file axis runs along S, P and L; of an image, which is across it, down and to the right
    as it is prepared.
    """
    from nibabel.orientations import axcodes2ornt, io_orientation

    along = [int(axis) for axis in io_orientation(volume.affine)[:, 0]]
    first, second, third = (along.index(int(axis)) for axis in axcodes2ornt(volume.standard)[:, 0])
    return first, second, third


def _triple(values: Sequence[Any], order: tuple[int, int, int] = (0, 1, 2)) -> tuple[Any, Any, Any]:
    return values[order[0]], values[order[1]], values[order[2]]


def _stride(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Steps that bring a grid to about :data:`GRID_VOXELS`; short axes are left whole."""
    steps = [1, 1, 1]
    while np.prod(sizes := [n // s for n, s in zip(shape, steps, strict=True)]) > GRID_VOXELS:
        steps[int(np.argmax(sizes))] += 1
    return steps[0], steps[1], steps[2]


def _intensity(measures: Sequence[Measure], channel: str) -> dict[str, Any]:
    pool = np.concatenate([m.samples[channel] for m in measures])
    values = np.percentile(pool, PERCENTILES) if pool.size else np.zeros(len(PERCENTILES))
    profiles = [_scaled(m.samples[channel]) for m in measures]
    middle = np.median(profiles, axis=0)
    return {
        "percentiles": {f"{p:g}": float(v) for p, v in zip(PERCENTILES, values, strict=True)},
        "profile": middle.tolist(),
        "spread": float(np.percentile([_area(each, middle) for each in profiles], 95)),
        "mean": float(pool.mean(dtype=np.float64)) if pool.size else 0.0,
        "std": float(pool.std(dtype=np.float64)) if pool.size else 0.0,
        "zero_fraction": float(np.median([m.zero_fraction[channel] for m in measures])),
    }


def _spread(values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"median": np.median(values, axis=0), "min": values.min(axis=0), "max": values.max(axis=0)}


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _anisotropy(each: Measure) -> float:
    edges = [size for size, n in zip(each.spacing, each.shape, strict=True) if n > 1]
    return max(edges) / min(edges) if edges else 1.0
