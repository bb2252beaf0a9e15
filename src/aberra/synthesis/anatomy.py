"""Anatomy from label maps: which structure each voxel of a real head belongs to, whatever tool
named it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

OUTSIDE, CORTEX, WHITE, VENTRICLE, CSF = 0, 1, 2, 3, 4
CEREBELLAR_CORTEX, CEREBELLAR_WHITE, BRAINSTEM = 5, 6, 7
THALAMUS, CAUDATE, PUTAMEN, PALLIDUM, HIPPOCAMPUS, BASAL = 8, 9, 10, 11, 12, 13
LIMBIC, PLEXUS, CAPSULE = 14, 15, 16
STRUCTURES = 17
"""Numbers of the brain's structures. Insula, cingulate and the cortex beside the
hippocampus (:data:`LIMBIC`) and the internal capsule (:data:`CAPSULE`) are told apart from
cortex and white matter by where they lie: on FLAIR and T2 they are brighter, and that is normal."""

FLUIDS = (VENTRICLE, CSF, PLEXUS)
TISSUES = tuple(number for number in range(1, STRUCTURES) if number not in FLUIDS)

SKULL, MARROW, SKIN, SOFT = 20, 21, 22, 23
HEAD = tuple(range(20, 31))
"""Numbers outside the brain: bone, marrow, skin, other soft tissue, eye, its muscles, mucosa,
artery, vein, spinal cord, optic nerve."""


def _each(groups: Mapping[int, tuple[int, ...]]) -> dict[int, int]:
    return {value: number for number, values in groups.items() for value in values}


TABLES: dict[str, dict[int, int]] = {
    "aberra": {**{number: number for number in (*range(14), PLEXUS, *HEAD)}, 14: WHITE},
    "freesurfer": _each(
        {
            CORTEX: (3, 42, *range(1000, 1036), *range(2000, 2036)),
            WHITE: (2, 41, 25, 57, 77, 78, 79, 80, 81, 82, 85, 192, *range(250, 256), *range(3000, 3036), *range(4000, 4036)),
            VENTRICLE: (4, 43, 5, 44, 14, 15, 72),
            CSF: (24, 30, 62, 118, 257),
            CEREBELLAR_CORTEX: (8, 47, 172),
            CEREBELLAR_WHITE: (7, 46),
            BRAINSTEM: (16, 170, 171, 173, 174, 175),
            THALAMUS: (9, 48, 10, 49),
            CAUDATE: (11, 50),
            PUTAMEN: (12, 51),
            PALLIDUM: (13, 52),
            HIPPOCAMPUS: (17, 18, 53, 54),
            BASAL: (26, 58, 28, 60, 136, 137, 163, 164),
            PLEXUS: (31, 63),
            SKULL: (165,),
            SOFT: (258,),
        }
    ),
    "dlmuse": _each(
        {
            CORTEX: tuple(range(100, 208)),
            WHITE: (*range(81, 93), 95, 69),
            VENTRICLE: (4, 11, 49, 50, 51, 52),
            CSF: (46,),
            CEREBELLAR_CORTEX: (38, 39, 71, 72, 73),
            CEREBELLAR_WHITE: (40, 41),
            BRAINSTEM: (35,),
            THALAMUS: (59, 60),
            CAUDATE: (36, 37),
            PUTAMEN: (57, 58),
            PALLIDUM: (55, 56),
            HIPPOCAMPUS: (31, 32, 47, 48),
            BASAL: (23, 30, 61, 62, 75, 76),
        }
    ),
}  # fmt: skip
"""Label values of a tool to ours. Lesions that a source has marked become white matter: the anatomy
is to be healthy. ``freesurfer`` is SynthSeg's numbering, too; ``dlmuse`` is MUSE's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """One head.

    Attributes:
        labels: structure numbers, shape (D, H, W), uint8, axes SPL.
        spacing: isotropic or not, mm along D, H, W.
        name: of the file.

    Examples:
        >>> import numpy as np
        >>> from aberra.synthesis.anatomy import Anatomy
        >>> labels = np.zeros((4, 4, 4), dtype=np.uint8)
        >>> labels[1:3, 1:3, 1:3] = 2  # cerebral white matter
        >>> int(Anatomy(labels=labels, spacing=(1.0, 1.0, 1.0)).brain.sum())
        8
    """

    labels: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    name: str = ""

    @classmethod
    @cache
    def atlas(cls) -> Anatomy:
        """The brain of the MNI152 tissue maps, where no label map is at hand: cortex, white matter,
        CSF; by depth ventricles and deep grey matter.
        """
        from scipy.ndimage import distance_transform_edt

        from aberra.prepare.atlas import tissues
        from aberra.prepare.orient import Orient
        from aberra.volume import Volume

        maps, brain, affine = tissues()
        turned = Orient(to="SPL")(Volume(data=maps, affine=affine, channels=("csf", "gm", "wm"), mask=brain))
        inside = np.asarray(turned.mask)
        deep = distance_transform_edt(inside, sampling=turned.spacing) > DEPTH_MM
        labels = np.array((CSF, CORTEX, WHITE), dtype=np.uint8)[turned.data.argmax(axis=0)] * inside
        labels[deep & (labels == CSF)] = VENTRICLE
        labels[deep & (labels == CORTEX)] = PUTAMEN
        return cls(labels=refined(labels, turned.spacing), spacing=turned.spacing, name=ATLAS)

    @property
    def brain(self) -> NDArray[np.bool]:
        """Brain, ventricles and CSF."""
        return (self.labels > 0) & (self.labels < SKULL)

    @classmethod
    def read(cls, path: Path | str, *, table: str = "auto", whole: bool = False) -> Anatomy:
        """Read a label map.

        Args:
            path: NIfTI with whole-number labels.
            table: ``aberra``, ``freesurfer``, ``dlmuse``, or ``auto``: chosen by the values in the
                map.
            whole: keep the whole head, not only :data:`REACH` voxels around the brain.

        Raises:
            InputError: the file is no label map, or of a numbering that is not known.
            ConfigError: unknown table.
        """
        from aberra.prepare.orient import Orient
        from aberra.volume import Volume

        volume = Orient(to="SPL")(Volume.read(path))
        labels = numbered(volume.data[0], path, table=table)
        cut = np.argwhere((labels > 0) & (labels < SKULL))
        reach = max(labels.shape) if whole else REACH
        low, high = np.maximum(cut.min(axis=0) - reach, 0), cut.max(axis=0) + reach + 1
        labels = np.ascontiguousarray(labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
        return cls(labels=refined(labels, volume.spacing), spacing=volume.spacing, name=Path(path).name)


def among(labels: NDArray[np.uint8], numbers: Iterable[int]) -> NDArray[np.bool]:
    """Which voxels are of these structures, any shape."""
    table = np.zeros(256, dtype=bool)
    table[list(numbers)] = True
    found: NDArray[np.bool] = table[labels]
    return found


ATLAS = "mni152"
DEPTH_MM = 25.0
"""Deeper fluid of the atlas is ventricle, deeper grey matter belongs to the nuclei."""

REACH = 12
"""Voxels kept around the brain."""


HELD_OUT = 8
"""Label maps of a folder that are not learnt from."""


@lru_cache(maxsize=64)
def remembered(path: str) -> Anatomy:
    """A label map, read once: to read and refine one takes a second."""
    return Anatomy.read(path)


def held_out(folder: Path) -> list[Path]:
    """The label maps of a folder, the last eight in the order of their names, that no shipped
    detector is trained on.
    """
    return sorted(folder.glob("*.nii.gz"))[-HELD_OUT:]


def learnt_from(folder: Path) -> list[Path]:
    """The others."""
    return sorted(folder.glob("*.nii.gz"))[:-HELD_OUT]


def numbered(values: NDArray[np.float32], path: Path | str, *, table: str = "auto") -> NDArray[np.uint8]:
    """The structure number of each voxel of a label map, any shape.

    Args:
        values: as the file has them.
        path: of the file, for messages.
        table: as for :meth:`Anatomy.read`.

    Raises:
        InputError: no label map, or of a numbering that is not known.
        ConfigError: unknown table.
    """
    if table != "auto" and table not in TABLES:
        raise unknown("label table", table, ["auto", *TABLES])
    unique = np.unique(values)
    if (unique != unique.round()).any() or unique[0] < 0 or len(unique) > 2048:
        raise InputError(f"{path}: not a label map; expected whole numbers from 0, found {unique[:5]} …")
    present = unique.astype(int)
    chosen = recognise(present) if table == "auto" else table
    lookup = np.zeros(int(present.max()) + 1, dtype=np.uint8)
    for value, number in TABLES[chosen].items():
        if value < len(lookup):
            lookup[value] = number
    labels: NDArray[np.uint8] = lookup[values.astype(np.intp)]
    if not np.isin(labels, (CORTEX, WHITE)).any():
        raise InputError(
            f"{path}: no cortex and no white matter by table '{chosen}'; values are {present[:12].tolist()}. "
            f"Known tables: {', '.join(TABLES)}"
        )
    return labels


def recognise(present: NDArray[np.intp]) -> str:
    """The table whose numbering label values have.

    A FreeSurfer map has both hemispheres' white matter (2, 41), MUSE's has lobes (81–88), ours ends
    at 30.
    """
    values = set(present.tolist())
    if values <= set(range(31)):
        return "aberra"
    if {2, 41} <= values:
        return "freesurfer"
    return "dlmuse" if values & set(range(81, 89)) else "freesurfer"


def refined(labels: NDArray[np.uint8], spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Close the brain and tell limbic cortex and the internal capsule apart, by distance; (D, H, W)
    to the same.
    """
    from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt

    found = labels.copy()
    brain = (labels > 0) & (labels < SKULL)
    # vessels run through the subarachnoid space of some maps: what the brain encloses is CSF
    holes = binary_fill_holes(binary_closing(brain, iterations=3, border_value=0)) & ~brain
    found[holes] = CSF

    # every second voxel is close enough for distances, and eight times faster
    thinned = labels[::2, ::2, ::2]
    every = tuple(np.arange(length) // 2 for length in labels.shape)

    def near(numbers: tuple[int, ...], reach_mm: float) -> NDArray[np.bool]:
        there = np.isin(thinned, numbers)
        if not there.any():
            return np.zeros(labels.shape, dtype=bool)
        within = distance_transform_edt(~there, sampling=[2 * step for step in spacing]) <= reach_mm
        found: NDArray[np.bool] = within[np.ix_(*every)]
        return found

    middle = (
        np.abs(np.arange(labels.shape[2]) - np.flatnonzero(brain.any(axis=(0, 1))).mean()) * spacing[2] <= 12
    )
    insula = near((PUTAMEN,), 11)
    cingulate = near((VENTRICLE,), 18) & middle
    temporal = near((HIPPOCAMPUS,), 6)
    found[(labels == CORTEX) & (insula | cingulate | temporal)] = LIMBIC
    capsule = near((THALAMUS,), 7) & near((PUTAMEN, PALLIDUM), 7)
    found[(labels == WHITE) & capsule] = CAPSULE
    return found
