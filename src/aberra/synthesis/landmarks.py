"""Where a labelled head lies in MNI152: an affine by the centres of its structures, in milliseconds
instead of a registration.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.synthesis import anatomy as a

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRED = (a.CORTEX, a.WHITE, a.VENTRICLE, a.CEREBELLAR_CORTEX, a.CEREBELLAR_WHITE, a.THALAMUS, a.CAUDATE, a.PUTAMEN, a.PALLIDUM, a.HIPPOCAMPUS, a.BASAL)  # fmt: skip
SINGLE = (a.BRAINSTEM,)
FEWEST = 10
"""Voxels from which a structure has a centre."""
LEAST = 8
"""Centres that an affine needs."""


def centres(structures: NDArray[np.uint8], affine: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Centres of structures in mm (RAS+), by ``number`` or ``number-left``, ``number-right``.

    Args:
        structures: numbers, shape (D, H, W), axes SPL.
        affine: index to mm.
    """
    merged = {a.LIMBIC: a.CORTEX, a.CAPSULE: a.WHITE, a.PLEXUS: a.VENTRICLE}
    numbers = structures.copy()
    for part, whole in merged.items():
        numbers[numbers == part] = whole
    brain = np.flatnonzero((numbers > 0) & (numbers < a.SKULL))
    index = np.stack(np.unravel_index(brain, numbers.shape), axis=1)
    number = numbers.ravel()[brain]
    slopes = midplane(index)
    left = (
        index[:, 2] > np.column_stack([index[:, :2], np.ones(len(index))]) @ slopes
    )  # W runs from right to left
    found = {}
    for each in (*PAIRED, *SINGLE):
        for side, chosen in (("left", left), ("right", ~left)) if each in PAIRED else (("", left | ~left),):
            here = index[(number == each) & chosen]
            if len(here) >= FEWEST:
                name = f"{each}-{side}" if side else str(each)
                found[name] = (affine @ [*here.mean(axis=0), 1])[:3]
    return found


def midplane(voxels: NDArray[np.intp]) -> NDArray[np.float64]:
    """The plane between the hemispheres by the brain's voxels (N, 3), axes SPL: (a, b, c) of
    w = a·d + b·h + c. It is no plane w = c, since heads are turned.
    """
    design = np.column_stack([voxels[:, :2], np.ones(len(voxels))])
    found: NDArray[np.float64] = np.linalg.lstsq(design, voxels[:, 2], rcond=None)[0]
    return found


def place(structures: NDArray[np.uint8], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine from MNI152 mm to the head's mm (RAS+), least squares over the centres.

    Raises:
        InputError: too few structures to say.
    """
    here, there = centres(structures, affine), reference()
    shared = [name for name in here if name in there]
    if len(shared) < LEAST:
        raise InputError(
            f"{len(shared)} structures with a centre; expected {LEAST} or more to place a head by"
        )
    source = np.array([[*there[name], 1] for name in shared])
    target = np.array([here[name] for name in shared])
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(source, target, rcond=None)[0].T
    return matrix


@cache
def reference() -> dict[str, NDArray[np.float64]]:
    """Centres in MNI152, mm: means over heads that were registered (``scripts/landmarks``)."""
    text = (files("aberra") / "synthesis" / "landmarks.toml").read_text(encoding="utf-8")
    return {name: np.array(point) for name, point in tomllib.loads(text)["centres"].items()}
