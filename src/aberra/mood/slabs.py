"""What is done to slices: lost, repeated, exchanged, or of another intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aberra.mood.anomaly import Anomaly
    from aberra.mood.scan import Scan


def changed_slab(scan: Scan, anomaly: Anomaly) -> tuple[NDArray[np.float32], NDArray[np.bool]]:
    """The scan's intensities after the change, and the mask, (D, H, W) each: the slabs' foreground,
    and whatever else changed.
    """
    axis, _, count, other = anomaly.slab
    after = scan.data.copy()
    # views whose first axis is the slab's
    SLABS[anomaly.kind.operation](np.moveaxis(after, axis, 0), np.moveaxis(scan.data, axis, 0), anomaly)
    if anomaly.kind.operation == "slab":
        after = np.where(scan.inside, np.clip(after, 0, 1), scan.data)
    touched = np.zeros_like(scan.inside)
    slabs = np.moveaxis(touched, axis, 0)
    slabs[_slices(anomaly)] = True
    if anomaly.kind.operation == "swapped":
        slabs[other : other + count] = True
    return after, (after != scan.data) | (touched & scan.inside)


def _missing(after: NDArray[np.float32], _: NDArray[np.float32], anomaly: Anomaly) -> None:
    after[_slices(anomaly)] = 0


def _repeated(after: NDArray[np.float32], before: NDArray[np.float32], anomaly: Anomaly) -> None:
    """The slice before the slab stands in its place."""
    after[_slices(anomaly)] = before[anomaly.slab[1] - 1]


def _swapped(after: NDArray[np.float32], before: NDArray[np.float32], anomaly: Anomaly) -> None:
    _, _, count, other = anomaly.slab
    here, there = _slices(anomaly), slice(other, other + count)
    after[here], after[there] = before[there], before[here]


def _moved(after: NDArray[np.float32], _: NDArray[np.float32], anomaly: Anomaly) -> None:
    after[_slices(anomaly)] += np.float32(anomaly.amount)


def _slices(anomaly: Anomaly) -> slice:
    _, start, count, _ = anomaly.slab
    return slice(start, start + count)


SLABS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32], Anomaly], None]] = {
    "missing": _missing,
    "repeated": _repeated,
    "swapped": _swapped,
    "slab": _moved,
}
"""Operations on slices; each changes the first array in place."""
