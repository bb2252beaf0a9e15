"""Contrasts of label maps: an intensity for each structure, and how it varies inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import unknown
from aberra.synthesis import anatomy as a

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = 31
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
    """

    name: str
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    clusters: tuple[float, ...]
    bright: int

    @property
    def reach(self) -> float:
        """From the darkest to the brightest of cortex, white matter and CSF: what one step of a lesion is measured in."""
        tissue = [self.means[number] for number in (a.CORTEX, a.WHITE, a.CSF)]
        return max(max(tissue) - min(tissue), 0.15)


def _flair(rng: np.random.Generator, m: np.ndarray) -> int:
    u = rng.uniform
    wm = u(0.4, 0.65)
    gm = wm * u(1.02, 1.4)
    csf = wm * u(0.03, 0.6)
    m[a.WHITE], m[a.CORTEX], m[a.VENTRICLE] = wm, gm, csf
    m[a.CSF] = csf * u(0.8, 1.8)
    m[a.CEREBELLAR_CORTEX], m[a.CEREBELLAR_WHITE], m[a.BRAINSTEM] = (
        gm * u(0.85, 1.1),
        wm * u(0.85, 1.15),
        wm * u(0.85, 1.25),
    )
    for number in DEEP:
        m[number] = wm + (gm - wm) * u(0, 1.2)
    m[a.HIPPOCAMPUS] = gm * u(0.92, 1.14)
    m[a.PALLIDUM] = wm * u(0.75, 1.05)
    m[a.LIMBIC] = gm * u(0.97, 1.14)
    m[a.CAPSULE] = wm * u(0.92, 1.12)
    return 1


def _t2(rng: np.random.Generator, m: np.ndarray) -> int:
    u = rng.uniform
    csf = u(0.7, 1.0)
    gm = csf * u(0.4, 0.7)
    wm = gm * u(0.6, 0.92)
    m[a.WHITE], m[a.CORTEX], m[a.VENTRICLE] = wm, gm, csf
    m[a.CSF] = csf * u(0.75, 1.05)
    m[a.CEREBELLAR_CORTEX], m[a.CEREBELLAR_WHITE], m[a.BRAINSTEM] = (
        gm * u(0.9, 1.1),
        wm * u(0.9, 1.1),
        wm * u(0.9, 1.2),
    )
    for number in DEEP:
        m[number] = wm + (gm - wm) * u(0, 1.0)
    m[a.HIPPOCAMPUS] = gm * u(0.92, 1.12)
    m[a.PALLIDUM] = wm * u(0.6, 1.0)
    m[a.LIMBIC] = gm * u(0.97, 1.1)
    m[a.CAPSULE] = wm * u(0.92, 1.12)
    return 1


def _t1(rng: np.random.Generator, m: np.ndarray) -> int:
    u = rng.uniform
    wm = u(0.65, 0.9)
    gm = wm * u(0.55, 0.85)
    csf = wm * u(0.1, 0.5)
    m[a.WHITE], m[a.CORTEX], m[a.VENTRICLE] = wm, gm, csf
    m[a.CSF] = csf * u(0.8, 1.3)
    m[a.CEREBELLAR_CORTEX], m[a.CEREBELLAR_WHITE], m[a.BRAINSTEM] = (
        gm * u(0.9, 1.1),
        wm * u(0.9, 1.05),
        wm * u(0.85, 1.05),
    )
    for number in DEEP:
        m[number] = gm + (wm - gm) * u(0, 0.9)
    m[a.PALLIDUM] = wm * u(0.85, 1.02)
    m[a.LIMBIC] = gm * u(0.9, 1.03)
    m[a.CAPSULE] = wm * u(0.9, 1.02)
    return -1


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
    "flair": _flair, "t1": _t1, "t2": _t2, "random": _random
}  # fmt: skip


def draw_contrast(name: str, rng: np.random.Generator) -> Contrast:
    """Draw the intensities of one scan.

    Raises:
        ConfigError: unknown contrast.
    """
    if name not in CONTRASTS:
        raise unknown("contrast", name, CONTRASTS)
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
    plain = [tuple(round(float(value), 4) for value in values) for values in (means, spreads, clusters)]
    return Contrast(name=name, means=plain[0], spreads=plain[1], clusters=plain[2], bright=bright)
