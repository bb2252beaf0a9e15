"""Whole heads to learn brain extraction from (scripts/train_brain)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from aberra.prepare.brain_net import SPACING, boxed, scaled
from aberra.synthesis import anatomy as a
from aberra.synthesis.anatomy import remembered
from aberra.synthesis.grids import smooth
from aberra.synthesis.heads import HeadParameters, draw_head, rendered
from aberra.synthesis.source import choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aberra.synthesis.source import Arrays

CONTRASTS = {"flair": 0.35, "t1": 0.2, "t2": 0.2, "random": 0.25}
PROFILES = ("ms", "wmh", "tumour", "stroke", "haemorrhage", "generic")
THICK = 0.4
"""Share of heads in axial slices of 4 to 8 mm, besides those that are in slices anyway."""

FAT = 0.7
"""Share of heads with a shell in the scalp that is brighter than the rest of it."""

COIL = 0.5
"""Largest strength of the bias field, log scale: coils near the skin."""

CUT = 0.2
"""Share, of each axis, of heads that the field of view cuts, by up to a quarter of the brain."""

MOVED = 3
"""Voxels by which the middle of the brain is missed."""


@dataclass(frozen=True, kw_only=True)
class WholeHeads:
    """Drawn heads with skull and skin, and where the brain is, for
    :class:`aberra.synthesis.source.Stream`.

    Args:
        anatomies: files of label maps with what is around the brain.
        contrasts: weights by name.
        images: of a block.
        looks: at each image: coil, field of view and side differ.
        seed: of everything.

    Examples:
        >>> from aberra.synthesis.whole import WholeHeads
        >>> WholeHeads(anatomies=("a.nii.gz",)).samples
        16
    """

    anatomies: tuple[str, ...]
    contrasts: Mapping[str, float] = field(default_factory=lambda: dict(CONTRASTS))
    images: int = 8
    looks: int = 2
    seed: int = 0

    @property
    def samples(self) -> int:
        """Of a block."""
        return self.images * self.looks

    def block(self, number: int) -> Arrays:
        """Samples of a block: intensities (N, 1, *S), where there is an image (everywhere), and brain,
        (N, 1, *S) each.
        """
        found = []
        for index in range(number * self.images, (number + 1) * self.images):
            rng = np.random.default_rng([self.seed, index])
            scan, brain = self._head(rng)
            found += [_look(scan, brain, rng) for _ in range(self.looks)]
        order = np.random.default_rng([self.seed, number, 1]).permutation(len(found))
        x, brain = (np.stack([found[each][part] for each in order])[:, None] for part in range(2))
        return x.astype(np.float16), np.ones(x.shape, dtype=bool), brain.astype(np.uint8)

    def _head(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool]]:
        """A head and its brain, (D, H, W), axes S, P, L."""
        from scipy.ndimage import binary_fill_holes

        anatomy = remembered(self.anatomies[int(rng.integers(len(self.anatomies)))])
        profiles = [str(rng.choice(PROFILES))] if rng.random() < 0.5 else []
        head = draw_head(rng, choice(rng, self.contrasts), profiles)
        head = replace(_surrounded(head, rng), leaks=0)
        volume, structures = rendered(head, anatomy, SPACING, whole=True)
        # vessels run inside the skull
        brain = np.asarray(binary_fill_holes((structures > 0) & (structures < a.SKULL)))
        return _with_fat(volume.data[0], structures, brain, rng), brain


def _surrounded(head: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    """Half of what is outside the brain as bright as it may be in any sequence, and thick slices."""
    means = list(head.contrast.means)
    top = max(means[1 : a.STRUCTURES])
    for number in a.HEAD:
        if rng.random() < 0.5:
            means[number] = float(rng.uniform(0, 0.5 if number == a.SKULL else 1.8) * top)
    head = replace(head, contrast=replace(head.contrast, means=tuple(means)))
    if rng.random() < THICK:
        step, width, offset = rng.uniform(4, 8), rng.uniform(4, 8), rng.random()
        head = replace(head, slices=(0, float(step), float(width), float(offset)))
    return head


def _with_fat(
    x: NDArray[np.float32],
    structures: NDArray[np.uint8],
    brain: NDArray[np.bool],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Label maps do not tell fat from skin and muscle, or only some do; scanners do."""
    from scipy.ndimage import distance_transform_edt

    if rng.random() >= FAT:
        return x
    near = rng.uniform(5, 14)
    out = distance_transform_edt(~brain) * SPACING
    shell = np.isin(structures, (a.SKIN, a.SOFT)) & (out > near) & (out < min(near + rng.uniform(4, 14), 40))
    share = shell * np.clip(0.7 + 0.5 * smooth(x.shape, 25 / SPACING, rng), 0, 1)
    fat = float(x[brain].max() if brain.any() else x.max()) * rng.uniform(0.5, 1.6)
    return np.asarray(x * (1 - share) + share * fat, dtype=np.float32)


def _look(
    x: NDArray[np.float32], brain: NDArray[np.bool], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool]]:
    """What the network sees of a head in one scanner."""
    seen = x * np.exp(rng.uniform(0, COIL) * smooth(x.shape, rng.uniform(40, 120) / SPACING, rng))
    if rng.random() < 0.3:
        seen = np.abs(seen + rng.normal(0, 0.05 * float(x.max()), x.shape))
    seen, left = seen.astype(np.float32), brain.copy()
    where = np.argwhere(brain)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    for axis in range(3):
        if rng.random() < CUT:
            depth = int(rng.uniform(0, 0.25) * (high[axis] - low[axis]))
            gone: list[slice] = [slice(None)] * 3
            gone[axis] = (
                slice(0, low[axis] + depth) if rng.random() < 0.5 else slice(high[axis] - depth, None)
            )
            seen[tuple(gone)], left[tuple(gone)] = 0, False
    middle = (low + high) // 2 + rng.integers(-MOVED, MOVED + 1, 3)
    side = slice(None, None, -1 if rng.random() < 0.5 else 1)
    curve = np.float32(np.exp(rng.uniform(-0.3, 0.3)))
    found: NDArray[np.float32] = scaled(boxed(seen, middle)[..., side]) ** curve
    return found, boxed(left, middle)[..., side]
