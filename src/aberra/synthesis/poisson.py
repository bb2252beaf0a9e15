"""Gradient-domain blending (Pérez, Gangnet, Blake 2003), in 2-D and 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

if TYPE_CHECKING:
    from numpy.typing import NDArray


def poisson_blend(
    target: NDArray[np.float32],
    foreign: NDArray[np.float32],
    region: NDArray[np.bool],
    *,
    factor: float = 1.0,
    stronger: bool = False,
) -> NDArray[np.float32]:
    """Replace a region so that its gradients are the foreign ones, or between both, and its border
    is the target's.

    Solves Δu = div v in the region with u = target outside, v = (1 − α)∇target + α∇foreign.

    Args:
        target: shape (D, H, W).
        foreign: same shape.
        region: same shape; voxels at the array's border keep the target.
        factor: α; 1 takes the foreign gradients alone.
        stronger: v is, between each pair of neighbours, the larger of (1 − α)∇target and α∇foreign
            instead of their sum: Poisson image interpolation (Tan et al. 2021, arXiv 2107.02622).
    """
    inside = region.copy()
    for axis, length in enumerate(region.shape):
        if length > 1:
            edge = [slice(None)] * 3
            edge[axis] = [0, -1]  # type: ignore[call-overload]
            inside[tuple(edge)] = False
    where = np.argwhere(inside)
    if not len(where):
        return target
    number = np.full(region.shape, -1)
    number[inside] = np.arange(len(where))
    rows, columns, values = [np.arange(len(where))], [np.arange(len(where))], [np.zeros(len(where))]
    right = np.zeros(len(where))
    for axis, length in enumerate(region.shape):
        if length == 1:
            continue
        for direction in (-1, 1):
            neighbour = where.copy()
            neighbour[:, axis] += direction
            there = tuple(neighbour.T)
            values[0] += 1
            guide = foreign[inside] - foreign[there]
            if factor < 1:
                own, guide = (1 - factor) * (target[inside] - target[there]), factor * guide
                guide = np.where(np.abs(own) > np.abs(guide), own, guide) if stronger else own + guide
            right += guide
            known = number[there] < 0
            right[known] += target[there][known]
            rows.append(np.flatnonzero(~known))
            columns.append(number[there][~known])
            values.append(np.full((~known).sum(), -1.0))
    system = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(len(where),) * 2
    )
    out = target.copy()
    out[inside] = spsolve(system.tocsc(), right)
    return out
