"""Contrasts of label maps: an intensity for each structure, and how it varies inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import expect_known
from aberra.synthesis import anatomy as a

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = 31
HU = 100.0
"""Hounsfield units of 1 in a contrast of CT."""

AIR = -1000.0
"""HU."""

CT = "ct"
DEEP = (a.THALAMUS, a.CAUDATE, a.PUTAMEN, a.HIPPOCAMPUS, a.BASAL)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """How a scanner shows tissue.

    Attributes:
        name: of the sequence, or ``random``.
        means: intensity of each structure number, 31 values, about 0 to 1.
        spreads: standard deviation of the texture inside each.
        clusters: how far the sub-structures of each depart from its mean, signed.
        bright: 1 where lesions with more water are bright, −1 where they are dark, 0 where either.
        hounsfield: intensities are Hounsfield units over :data:`HU`: what is rendered is in HU, and
            what a magnet does to an image is left out.
    """

    name: str
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    clusters: tuple[float, ...]
    bright: int
    hounsfield: bool = False

    @property
    def least(self) -> float:
        """The lowest intensity that a scanner gives."""
        return AIR / HU if self.hounsfield else 0.0

    @property
    def reach(self) -> float:
        """From the darkest to the brightest of cortex, white matter and CSF: what one step of a
        lesion is measured in.
        """
        tissue = [self.means[number] for number in (a.CORTEX, a.WHITE, a.CSF)]
        return max(max(tissue) - min(tissue), 0.15)


def _deep(low: int, high: int, most: float) -> list[tuple[int, int, int, float, float]]:
    """Rows of the deep grey structures: from ``low``, so large a share of the way to ``high``."""
    return [(number, low, high, 0.0, most) for number in DEEP]


ROWS: dict[str, tuple[int, list[tuple[int, int | None, int | None, float, float]]]] = {
    "flair": (1, [
        (a.WHITE, None, None, 0.4, 0.65),
        (a.CORTEX, a.WHITE, None, 1.02, 1.4),
        (a.VENTRICLE, a.WHITE, None, 0.03, 0.6),
        (a.CSF, a.VENTRICLE, None, 0.8, 1.8),
        (a.CEREBELLAR_CORTEX, a.CORTEX, None, 0.85, 1.1),
        (a.CEREBELLAR_WHITE, a.WHITE, None, 0.85, 1.15),
        (a.BRAINSTEM, a.WHITE, None, 0.85, 1.25),
        *_deep(a.WHITE, a.CORTEX, 1.2),
        (a.HIPPOCAMPUS, a.CORTEX, None, 0.92, 1.14),
        (a.PALLIDUM, a.WHITE, None, 0.75, 1.05),
        (a.LIMBIC, a.CORTEX, None, 0.97, 1.14),
        (a.CAPSULE, a.WHITE, None, 0.92, 1.12),
    ]),
    "t1": (-1, [
        (a.WHITE, None, None, 0.65, 0.9),
        (a.CORTEX, a.WHITE, None, 0.55, 0.85),
        (a.VENTRICLE, a.WHITE, None, 0.1, 0.5),
        (a.CSF, a.VENTRICLE, None, 0.8, 1.3),
        (a.CEREBELLAR_CORTEX, a.CORTEX, None, 0.9, 1.1),
        (a.CEREBELLAR_WHITE, a.WHITE, None, 0.9, 1.05),
        (a.BRAINSTEM, a.WHITE, None, 0.85, 1.05),
        *_deep(a.CORTEX, a.WHITE, 0.9),
        (a.PALLIDUM, a.WHITE, None, 0.85, 1.02),
        (a.LIMBIC, a.CORTEX, None, 0.9, 1.03),
        (a.CAPSULE, a.WHITE, None, 0.9, 1.02),
    ]),
    "t2": (1, [
        (a.VENTRICLE, None, None, 0.7, 1.0),
        (a.CORTEX, a.VENTRICLE, None, 0.4, 0.7),
        (a.WHITE, a.CORTEX, None, 0.6, 0.92),
        (a.CSF, a.VENTRICLE, None, 0.75, 1.05),
        (a.CEREBELLAR_CORTEX, a.CORTEX, None, 0.9, 1.1),
        (a.CEREBELLAR_WHITE, a.WHITE, None, 0.9, 1.1),
        (a.BRAINSTEM, a.WHITE, None, 0.9, 1.2),
        *_deep(a.WHITE, a.CORTEX, 1.0),
        (a.HIPPOCAMPUS, a.CORTEX, None, 0.92, 1.12),
        (a.PALLIDUM, a.WHITE, None, 0.6, 1.0),
        (a.LIMBIC, a.CORTEX, None, 0.97, 1.1),
        (a.CAPSULE, a.WHITE, None, 0.92, 1.12),
    ]),
    CT: (-1, [
        (a.WHITE, None, None, 0.26, 0.31),
        (a.CORTEX, a.WHITE, None, 1.2, 1.35),
        (a.VENTRICLE, None, None, 0.04, 0.12),
        (a.CSF, a.VENTRICLE, None, 0.9, 1.4),
        (a.CEREBELLAR_CORTEX, a.CORTEX, None, 0.95, 1.05),
        (a.CEREBELLAR_WHITE, a.WHITE, None, 0.97, 1.08),
        (a.BRAINSTEM, a.WHITE, None, 0.92, 1.05),
        *_deep(a.WHITE, a.CORTEX, 1.1),
        (a.HIPPOCAMPUS, a.CORTEX, None, 0.92, 1.02),
        (a.PALLIDUM, a.CORTEX, None, 0.95, 1.15),
        (a.LIMBIC, a.CORTEX, None, 0.97, 1.03),
        (a.CAPSULE, a.WHITE, None, 0.95, 1.05),
    ]),
}  # fmt: skip
"""Of each sequence which way lesions with more water go, and its structures in the order they are
drawn in: structure, what its intensity is relative to, the end of an interval that begins there,
and the range of the factor, or of the share of that interval. A later row of a structure replaces
an earlier one."""


CT_TEXTURE = 0.3
"""Texture of tissue in CT, as share of that in MR."""

OUTSIDE_HU: dict[int, tuple[float, float]] = {
    a.SKULL: (700, 1300), a.MARROW: (200, 500), 22: (0, 60), a.SOFT: (-60, 50), 24: (5, 20), 25: (30, 60), 26: (20, 50),
    27: (35, 55), 28: (40, 65), 29: (28, 40), 30: (10, 35),
}  # fmt: skip
"""Of :data:`aberra.synthesis.anatomy.HEAD` in CT, least and greatest; some maps do not tell fat from
other soft tissue."""


def _sequence(name: str, rng: np.random.Generator, m: np.ndarray) -> int:
    bright, rows = ROWS[name]
    for number, start, end, low, high in rows:
        drawn = rng.uniform(low, high)
        if start is None:
            m[number] = drawn
        elif end is None:
            m[number] = m[start] * drawn
        else:
            m[number] = m[start] + (m[end] - m[start]) * drawn
    return bright


def _random(rng: np.random.Generator, m: np.ndarray) -> int:
    m[1 : a.STRUCTURES] = rng.uniform(0.05, 0.95, a.STRUCTURES - 1)
    for number, like in (
        (a.CSF, a.VENTRICLE),
        (a.CEREBELLAR_CORTEX, a.CORTEX),
        (a.CEREBELLAR_WHITE, a.WHITE),
        (a.BRAINSTEM, a.WHITE),
    ):
        m[number] = m[like] * rng.uniform(0.8, 1.2)
    m[a.LIMBIC], m[a.CAPSULE] = m[a.CORTEX] * rng.uniform(0.9, 1.15), m[a.WHITE] * rng.uniform(0.9, 1.15)
    return 0


CONTRASTS: dict[str, Callable[[np.random.Generator, np.ndarray], int]] = {
    **{name: partial(_sequence, name) for name in ROWS}, "random": _random
}  # fmt: skip


def draw_contrast(name: str, rng: np.random.Generator) -> Contrast:
    """Draw the intensities of one scan.

    Raises:
        ConfigError: unknown contrast.
    """
    expect_known("contrast", [name], CONTRASTS)
    means = np.zeros(NUMBERS)
    bright = CONTRASTS[name](rng, means)
    means[1 : a.STRUCTURES] *= np.exp(rng.normal(0, 0.03, a.STRUCTURES - 1))
    tissue = 1.25 * max(means[a.CORTEX], means[a.WHITE])
    means[a.PLEXUS] = means[a.VENTRICLE] + rng.uniform(0, 1) * (tissue - means[a.VENTRICLE])
    means[list(a.HEAD)] = rng.uniform(0, 1.2, len(a.HEAD)) * rng.uniform(0.2, 1)
    means[a.SKULL] *= 0.3
    spreads = rng.uniform(0.005, 0.05, NUMBERS)
    reach = max(np.ptp(means[[a.CORTEX, a.WHITE, a.CSF]]), 0.15)
    clusters = np.clip(rng.normal(0, 0.02, NUMBERS), -0.04, 0.04) * reach
    # brainstem, thalamus and cerebellum have parts that differ more
    clusters[[a.BRAINSTEM, a.THALAMUS, a.CEREBELLAR_WHITE, a.BASAL, a.CORTEX]] *= 1.6
    clusters[[a.VENTRICLE, a.CSF]] *= 0.5
    if name == CT:
        low, high = np.transpose([OUTSIDE_HU[number] for number in a.HEAD])
        means[list(a.HEAD)] = rng.uniform(low, high) / HU
        spreads *= CT_TEXTURE
    plain = [tuple(round(float(value), 4) for value in values) for values in (means, spreads, clusters)]
    return Contrast(
        name=name, means=plain[0], spreads=plain[1], clusters=plain[2], bright=bright, hounsfield=name == CT
    )
