"""Objects against true lesions: which object is which lesion, and from which threshold on there is
none.

The rule is that of the population study in Zimmerer 2022 (Heidelberg, section 4.4).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.foreground import EVERYWHERE
from aberra.metrics.bootstrap import with_intervals
from aberra.metrics.lesion import BINS_MM3

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from aberra.result import Component
    from aberra.volume import Volume

LEAST_MM3 = 1200.0
"""Smallest object, half of the smallest finding of that study."""

FACTOR = 2.0
"""By how much the volumes of an object and its lesion may differ."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """An object held against the truth.

    Attributes:
        lesion: number of the true lesion that the object's centre lies in; 0 for none.
        lesion_mm3: its volume, None without.
        hit: the centre is in the lesion, and the volumes differ by a factor of no more than
            :data:`FACTOR`.
        touches: the object shares a voxel with some lesion.
    """

    lesion: int
    lesion_mm3: float | None
    hit: bool
    touches: bool


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """A true lesion held against the objects.

    Attributes:
        lesion: its number, 1 … n in the order of the scan's voxels.
        volume_mm3: its volume.
        centre_mm: centre of mass (x, y, z) in mm, RAS+ of the scan.
        hit: some object is a hit of it.
        touched: some object shares a voxel with it.
    """

    lesion: int
    volume_mm3: float
    centre_mm: tuple[float, float, float]
    hit: bool
    touched: bool


def match(
    objects: Sequence[Component], mask: NDArray[np.bool], truth: NDArray[np.bool], grid: Volume
) -> tuple[list[Match], list[Lesion]]:
    """Hold the objects of a scan against its true lesions.

    An object is a hit where its centre of mass lies in a lesion and the two volumes differ by a
    factor of no more than two. Lesions are 26-connected regions, as objects are.

    Args:
        objects: regions of ``mask``.
        mask: the objects' voxels, shape (D, H, W).
        truth: the lesions' voxels, same shape.
        grid: a volume on the same grid, for mm.

    Returns:
        What came of each object, and of each lesion.
    """
    from scipy.ndimage import center_of_mass, label

    found, _ = label(mask, structure=EVERYWHERE)
    true, count = label(truth, structure=EVERYWHERE)
    volumes = np.bincount(true.ravel(), minlength=count + 1) * grid.voxel_mm3
    over, under = set(np.unique(found[truth])) - {0}, set(np.unique(true[mask])) - {0}
    matches = []
    for each in objects:
        lesion = int(true[_voxel(each.centre_mm, grid)])
        ratio = each.volume_mm3 / volumes[lesion] if lesion else 0.0
        matches.append(
            Match(
                lesion=lesion,
                lesion_mm3=round(float(volumes[lesion]), 3) if lesion else None,
                hit=bool(1 / FACTOR <= ratio <= FACTOR),
                touches=found[each.centre_index] in over,
            )
        )
    hit = {each.lesion for each in matches if each.hit}
    lesions = []
    for number, centre in enumerate(center_of_mass(truth, true, range(1, count + 1)), start=1):
        x, y, z = (round(float(place), 3) for place in (grid.affine @ [*centre, 1.0])[:3])
        lesions.append(
            Lesion(
                lesion=number,
                volume_mm3=round(float(volumes[number]), 3),
                centre_mm=(x, y, z),
                hit=number in hit,
                touched=number in under,
            )
        )
    return matches, lesions


def _voxel(place: tuple[float, float, float], grid: Volume) -> tuple[int, int, int]:
    """The voxel (d, h, w) that a place in mm lies in, the nearest one of the grid."""
    index = np.rint((np.linalg.inv(grid.affine) @ [*place, 1.0])[:3]).astype(int)
    d, h, w = np.clip(index, 0, np.array(grid.shape) - 1)
    return int(d), int(h), int(w)


def last_threshold(values: NDArray[np.float32], voxels: int) -> float:
    """The lowest threshold at which a map (D, H, W) has no region of so many voxels any more.

    Strictly below it there is one; at it and above there is none.

    Examples:
        >>> import numpy as np
        >>> from aberra.metrics.objects import last_threshold
        >>> values = np.zeros((1, 1, 5), dtype=np.float32)
        >>> values[0, 0] = [0, 3, 2, 0, 9]  # of two neighbours the lower one decides
        >>> last_threshold(values, 2), last_threshold(values, 1)
        (2.0, 9.0)
    """
    from scipy.ndimage import label

    positive = values[values > 0]
    if positive.size < voxels:
        return 0.0
    # above the n-th highest value there are fewer than n voxels
    highest = np.partition(positive, positive.size - voxels)[positive.size - voxels]
    levels = np.concatenate([np.zeros(1, values.dtype), np.unique(positive[positive <= highest])])

    def none_left(level: float) -> int:
        labels, _ = label(values > level, structure=EVERYWHERE)
        return int(np.bincount(labels.ravel())[1:].max(initial=0) < voxels)

    return float(levels[bisect_left(levels, 1, key=none_left)])


def summary_of(found: Sequence[dict[str, Any]], *, n_boot: int, seed: int) -> dict[str, Any]:
    """Recall, precision and false positives a scan of the cases with truth, by both rules, with 95 %
    intervals over patients, and recall by volume.

    Args:
        found: what is kept of each case.
        n_boot: replicates.
        seed: of the bootstrap.
    """
    judged = [each for each in found if each["lesions"] is not None]
    patients = [each["patient"] for each in judged]
    content: dict[str, Any] = {
        "cases": len(judged), "patients": len(set(patients)), "replicates": n_boot, "seed": seed,
        "lesions": sum(len(each["lesions"]) for each in judged), "objects": sum(len(each["objects"]) for each in judged),
    }  # fmt: skip
    for rule, of_lesion, of_object in (("hit", "hit", "hit"), ("touch", "touched", "touches")):
        lesions = np.array(
            [[sum(own[of_lesion] for own in each["lesions"]), len(each["lesions"])] for each in judged]
        )
        told_of = np.array(
            [[sum(own[of_object] for own in each["objects"]), len(each["objects"])] for each in judged]
        )
        content[rule] = with_intervals(
            {
                "recall": _share(lesions),
                "precision": _share(told_of),
                "false_positives_per_scan": _false(told_of),
            },
            patients, replicates=n_boot, seed=seed,
        )  # fmt: skip
    content["by_volume"] = [
        {
            "from_mm3": low,
            "to_mm3": None if np.isinf(high) else high,
            "lesions": len(own),
            "recall_hit": _mean([each["hit"] for each in own]),
            "recall_touch": _mean([each["touched"] for each in own]),
        }
        for low, high in pairwise(BINS_MM3)
        for own in [[row for each in judged for row in each["lesions"] if low <= row["volume_mm3"] < high]]
    ]
    return content


def _share(counts: NDArray[np.int64]) -> Callable[[NDArray[np.int64]], float | None]:
    """Share of the first column in the second, of the cases drawn; None where that is empty."""

    def share(drawn: NDArray[np.int64]) -> float | None:
        part, whole = counts[drawn].sum(axis=0)
        return float(part / whole) if whole else None

    return share


def _false(counts: NDArray[np.int64]) -> Callable[[NDArray[np.int64]], float | None]:
    """Objects a case drawn that are no hit."""
    return lambda drawn: float((counts[drawn, 1] - counts[drawn, 0]).mean()) if drawn.size else None


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
