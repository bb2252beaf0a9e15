"""Loss of tissue: fluid advances into the brain, and what lies behind its new border is pressed
together, so that ventricles and sulci grow while gyri narrow and cortex thins.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from aberra.foreground import box_of
from aberra.synthesis import anatomy as a
from aberra.synthesis.grids import smooth
from aberra.synthesis.landmarks import midplane
from aberra.synthesis.profiles import box_round, depth_in, kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aberra.synthesis.contrast import Contrast
    from aberra.synthesis.profiles import Lesion

YIELDS = {
    a.HIPPOCAMPUS: 1.3, a.CAUDATE: 0.7, a.THALAMUS: 0.5, a.PUTAMEN: 0.5, a.CAPSULE: 0.5, a.PALLIDUM: 0.3,
    a.BASAL: 0.4,
    a.CEREBELLAR_CORTEX: 0.5, a.CEREBELLAR_WHITE: 0.3, a.BRAINSTEM: 0.15,
}  # fmt: skip
"""How much of a loss a structure takes part in; 1 without an entry."""

DECAY_MM = {a.CSF: 4.0, a.VENTRICLE: 7.0}
"""Depth over which tissue behind the new border of the fluid is pressed together."""

THIN_MM = 5.0
"""Half the thickness below which tissue resists: of a gyrus, or of the corpus callosum, at most half
is lost."""

PATCHY, PATCH_MM = 0.35, 25.0
"""How a loss varies over the brain: standard deviation, correlation length."""

MOVED = 0.3
"""Voxels from which tissue counts as moved."""

SOFT = 0.5
"""σ of the border of lost tissue in a real scan, voxels."""

PART = 2**17
"""Voxels that are worked on at a time."""

REGION_EDGE = 0.5
"""Width of the soft edge of a region that loses tissue, share of its radius."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shrunken:
    """A label map after a loss of tissue.

    Attributes:
        labels: structure numbers, shape (D, H, W).
        lost: where tissue became fluid, shape (D, H, W).
        voxels: flat indices of the tissue that moved, shape (N,).
        source: where that was before, in voxels, shape (3, N).
    """

    labels: NDArray[np.uint8]
    lost: NDArray[np.bool]
    voxels: NDArray[np.intp]
    source: NDArray[np.float32]

    def kinds(self, before: NDArray[np.uint8], contrast: Contrast) -> NDArray[np.int64]:
        """Label values of the lost voxels, shape (M,): which way a contrast shows the loss.

        Args:
            before: the label map that was shrunk.
            contrast: of the image.
        """
        means = np.array(contrast.means, dtype=np.float32)
        change = means[self.labels[self.lost]] - means[before[self.lost]]
        return kinds_of(change / np.float32(contrast.reach))

    def shown(
        self, x: NDArray[np.float32], contrast: Contrast, noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """An image of the head before, warped to the new borders; what was lost is filled with fluid.

        Args:
            x: without the coil's gain, shape (D, H, W).
            contrast: of the image.
            noise: of the lost voxels, shape (M,).
        """
        found = x.copy()
        found.ravel()[self.voxels] = map_coordinates(x, self.source, order=1, mode="nearest")
        level = np.zeros_like(x)
        level[self.lost] = np.array(contrast.means, dtype=np.float32)[self.labels[self.lost]] + noise
        # a border as soft as partial volume makes it
        weight = gaussian_filter(self.lost.astype(np.float32), SOFT)
        level = gaussian_filter(level, SOFT) / np.maximum(weight, 1e-3)
        weight = np.where(self.lost, np.maximum(weight, 0.5), weight * a.among(self.labels, a.TISSUES))
        blended: NDArray[np.float32] = np.where(weight > 0.02, found + weight * (level - found), found)
        return blended.astype(np.float32)


def shrink(
    labels: NDArray[np.uint8], losses: Sequence[tuple[Lesion, tuple[int, ...]]], spacing: float
) -> Shrunken:
    """Let the brain lose tissue.

    A voxel that lies less than the loss from fluid becomes that fluid. A voxel further away at
    depth φ looks as far outwards as ``loss · exp(−(φ − loss) / decay)``, so that structures keep
    their order and are thinned, and those far away stay.

    Args:
        labels: structure numbers, shape (D, H, W).
        losses: lesions with a ``loss``, and the voxels that they lie at.
        spacing: mm, isotropic.
    """
    rng = np.random.default_rng([losses[0][0].seed, 7])
    box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box_of(a.among(labels, a.TISSUES)))
    here = np.ascontiguousarray(labels[box])
    origin = np.array([part.start for part in box])
    amounts = {number: np.zeros(here.shape, dtype=np.float32) for number in DECAY_MM}
    for lesion, at in losses:
        region = _region(lesion, [int(c - o) for c, o in zip(at, origin, strict=True)], here, spacing)
        amounts[a.CSF] += lesion.loss * region
        amounts[a.VENTRICLE] += lesion.loss * lesion.ventricles * region
    fluid, shift, voxels = _advance(here, amounts, spacing, rng)
    after = here.copy()
    after.ravel()[voxels] = np.where(fluid, fluid, after.ravel()[voxels])
    moved = ~fluid.astype(bool) & (np.abs(shift).max(axis=0) > MOVED)
    index = np.stack(np.unravel_index(voxels[moved], here.shape))
    source = index + shift[:, moved]
    jitter = rng.standard_normal(source.shape, dtype=np.float32) / 4
    last = np.array(here.shape)[:, None] - 1
    seen = here[tuple(np.clip(np.rint(source + jitter), 0, last).astype(np.intp))]
    # where the way outwards leads beyond a thin sulcus or out of the brain, tissue stays what it is
    stays = ~a.among(seen, a.TISSUES)
    after.ravel()[voxels[moved]] = np.where(stays, here.ravel()[voxels[moved]], seen)
    found, lost, gone = labels.copy(), np.zeros(labels.shape, dtype=bool), np.zeros(here.shape, dtype=bool)
    gone.ravel()[voxels] = fluid > 0
    found[box], lost[box] = after, gone
    return Shrunken(
        labels=found,
        lost=lost,
        voxels=np.ravel_multi_index(tuple(index + origin[:, None]), labels.shape),
        source=np.clip(source, 0, last).astype(np.float32) + origin[:, None].astype(np.float32),
    )


def _advance(
    labels: NDArray[np.uint8],
    amounts: Mapping[int, NDArray[np.float32]],
    spacing: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.intp]]:
    """Let fluids advance by an amount in mm at each voxel (D, H, W): the fluid that tissue becomes,
    shape (N,), 0 for none; how far outwards it looks otherwise, in voxels, shape (3, N); and flat
    indices of that tissue, without the outermost voxels.
    """
    tissue, inner = a.among(labels, a.TISSUES), a.among(labels, (a.VENTRICLE, a.PLEXUS))
    squares = {
        number: near(fluid, int(np.ceil((amounts[number].max() + 1.5 * DECAY_MM[number]) / spacing)))
        for number, fluid in ((a.CSF, ~tissue & ~inner), (a.VENTRICLE, inner))
    }
    half = _greatest(np.minimum(*squares.values()), round(THIN_MM / spacing))
    varied = smooth(labels.shape, PATCH_MM / spacing, rng)
    # part of a voxel is lost where the border is uneven, not in single voxels
    uneven = smooth(labels.shape, 2.0, rng)
    tissue[[0, -1]] = tissue[:, [0, -1]] = tissue[:, :, [0, -1]] = False
    flat = np.flatnonzero(tissue)
    yields = np.ones(a.STRUCTURES, dtype=np.float32)
    yields[list(YIELDS)] = list(YIELDS.values())
    share = yields[labels.ravel()[flat]] * np.clip(1 + PATCHY * varied.ravel()[flat], 0.2, 2)
    thickness = spacing * np.sqrt(half.ravel()[flat], dtype=np.float32)
    most = 0.5 * thickness + 4 * np.maximum(thickness - 0.7 * THIN_MM, 0)
    blurred = uneven.ravel()[flat] / 3

    fluid = np.zeros(len(flat), dtype=np.uint8)
    shift = np.zeros((3, len(flat)), dtype=np.float32)
    nearest = np.full(len(flat), np.inf, dtype=np.float32)
    steps = [int(np.prod(labels.shape[axis + 1 :])) for axis in range(3)]
    for number, square in squares.items():
        line = np.sqrt(square, dtype=np.float32).ravel()
        # distances are from centre to centre; the border is half a voxel nearer
        far = line[flat] - np.float32(0.5)
        loss = np.minimum(amounts[number].ravel()[flat] * share, most) / np.float32(spacing)
        gone = (far + blurred < loss) & (far < nearest) & (loss > 0)
        fluid[gone], nearest[gone] = number, far[gone]
        push = loss * np.exp((loss - far) * np.float32(spacing / DECAY_MM[number]))
        moving = np.flatnonzero(push > MOVED)
        there = flat[moving]
        for axis, step in enumerate(steps):
            shift[axis, moving] -= push[moving] * (line[there + step] - line[there - step]) / 2
    return fluid, shift, flat


def near(there: NDArray[np.bool], reach: int) -> NDArray[np.uint16]:
    """Squared distance to the nearest voxel of a mask, in voxels, at most ``(reach + 1)²``; (D, H, W)
    to the same.

    As the lower envelope of parabolas axis by axis (Felzenszwalb & Huttenlocher 2012), looked for
    within the reach only and in parts that fit into a processor's cache: several times faster than a
    transform of all distances.
    """
    found = np.where(there, 0, reach + 1).astype(np.uint16)
    for planes in (found, found[::-1]):
        for before, plane in pairwise(planes):
            np.minimum(plane, before + np.uint16(1), out=plane)
    found *= found
    rows = max(1, PART // found[0].size)
    for first in range(0, len(found), rows):
        part = found[first : first + rows]
        for axis in (1, 2):
            source, target = np.moveaxis(part.copy(), axis, 0), np.moveaxis(part, axis, 0)
            for step in range(1, min(reach, len(source) - 1) + 1):
                further = source + np.uint16(step * step)
                np.minimum(target[step:], further[:-step], out=target[step:])
                np.minimum(target[:-step], further[step:], out=target[:-step])
    return found


def _greatest(x: NDArray[np.uint16], reach: int) -> NDArray[np.uint16]:
    """Greatest value within a cube of ``2 · reach + 1`` voxels; (D, H, W) to the same."""
    found = x.copy()
    for axis in range(3):
        before = found.copy()
        source, target = np.moveaxis(before, axis, 0), np.moveaxis(found, axis, 0)
        for step in range(1, min(reach, len(source) - 1) + 1):
            np.maximum(target[step:], source[:-step], out=target[step:])
            np.maximum(target[:-step], source[step:], out=target[:-step])
    return found


def _region(
    lesion: Lesion, at: Sequence[int], labels: NDArray[np.uint8], spacing: float
) -> NDArray[np.float32] | float:
    """How much of a lesion's loss each voxel takes part in, 0 to 1."""
    if lesion.everywhere:
        return 1.0
    found = np.zeros(labels.shape, dtype=np.float32)
    places = [tuple(at)]
    if lesion.both:
        along, down, level = midplane(np.argwhere(a.among(labels[::4, ::4, ::4], a.TISSUES)) * 4)
        across = 2 * round(float(along * at[0] + down * at[1] + level)) - at[2]
        places.append((at[0], at[1], int(np.clip(across, 0, labels.shape[2] - 1))))
    for place in places:
        box = box_round(lesion, place, labels.shape, spacing)
        depth = depth_in(lesion, box, place, spacing, np.random.default_rng(lesion.seed))
        found[box] = np.maximum(found[box], np.clip(depth / REGION_EDGE + 0.5, 0, 1))
    return found
