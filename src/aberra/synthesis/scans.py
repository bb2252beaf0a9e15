"""Lesions of a disease painted into real healthy scans, whose tissue maps say where they may lie
and how bright tissue is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import InputError
from aberra.io import read_onto
from aberra.prepare import back
from aberra.prepare.orient import Orient
from aberra.prepare.resample import Resample
from aberra.synthesis import anatomy as a
from aberra.synthesis.atrophy import shrink
from aberra.synthesis.contrast import NUMBERS, ROWS, Contrast
from aberra.synthesis.grids import blur
from aberra.synthesis.profiles import Lesion, box_round, centre, draw_lesions, paint, sites

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.volume import Volume

FINEST_MM = 1.0
"""Lesions are painted on isotropic voxels, not smaller than this."""

FEWEST = 30
"""Voxels from which a structure's intensity is its own; below it is that of the white matter or
cortex it belongs to."""

GAIN_MM = 20.0
"""σ over which the coil's gain is measured."""

BRIGHTEST = 99.0
"""Percentile of the brain that becomes 1 while lesions are painted."""

FLUID_SHARE, LEAST_WAY = 0.6, 0.1
"""Share of the way from cortex to CSF in intensity from which a voxel of cortex is fluid, and the
least way, share of the scale, on which they can be told apart."""

PARENTS = {a.CEREBELLAR_WHITE: a.WHITE, a.BRAINSTEM: a.WHITE, a.CAPSULE: a.WHITE, a.PALLIDUM: a.WHITE, a.CSF: a.VENTRICLE,
           a.VENTRICLE: a.CSF, a.PLEXUS: a.VENTRICLE}  # fmt: skip
"""What a structure with too few voxels is taken for; cortex without an entry."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedScan:
    """A healthy scan with its tissue map on isotropic voxels, axes SPL.

    Attributes:
        volume: the scan, with its mask.
        structures: number of the structure of each voxel, shape (D, H, W);
            see :mod:`aberra.synthesis.anatomy`.
        contrasts: of each channel, measured.
        gains: of the coil in each channel, shape (C, D, H, W).
        scales: intensity that becomes 1, of each channel.
        noise: of each channel, over its scale.
    """

    volume: Volume
    structures: NDArray[np.uint8]
    contrasts: tuple[Contrast, ...]
    gains: NDArray[np.float32]
    scales: tuple[float, ...]
    noise: tuple[float, ...]

    @property
    def spacing(self) -> float:
        """Voxel size in mm."""
        return self.volume.spacing[0]

    @classmethod
    def of(cls, volume: Volume, labels: Path | str, *, spacing: float = 0.0) -> MappedScan:
        """Measure a scan by its tissue map.

        Args:
            volume: the scan, as read.
            labels: file of a label map on its voxels: SynthSeg's, FreeSurfer's, MUSE's or our
                numbering.
            spacing: mm to paint at; 0 is the scan's own finest, at least :data:`FINEST_MM`.

        Raises:
            InputError: the map is on another grid or no label map.
        """
        structures = a.refined(a.numbered(read_onto(labels, volume), labels), volume.spacing)
        if volume.mask is None:
            volume = volume.with_(mask=structures > 0)
        volume = Orient(to="SPL")(volume.with_(lesion=structures > 0, kinds=structures))
        step = spacing or max(FINEST_MM, min(volume.spacing))
        volume = Resample(spacing=[step] * 3)(volume)
        structures = np.asarray(volume.labels)
        volume = volume.with_(lesion=None, kinds=None)
        if not np.isin(structures, (a.CORTEX, a.WHITE)).any():
            raise InputError(f"{labels}: no cortex and no white matter is left at {step:g} mm")
        brain = (structures > 0) & (structures < a.SKULL)
        scales = [max(float(np.percentile(channel[brain], BRIGHTEST)), 1e-6) for channel in volume.data]
        measured = [
            _measured(name, channel / np.float32(scale), structures, step)
            for name, channel, scale in zip(volume.channels, volume.data, scales, strict=True)
        ]
        return cls(
            volume=volume,
            structures=structures,
            contrasts=tuple(contrast for contrast, _, _ in measured),
            gains=np.stack([gain for _, gain, _ in measured]),
            scales=tuple(scales),
            noise=tuple(noise for _, _, noise in measured),
        )

    def draw(self, profile: str, rng: np.random.Generator, masks: Sequence[str] = ()) -> tuple[Lesion, ...]:
        """Draw the lesions of one disease as the first channel shows them; as
        :func:`aberra.synthesis.profiles.draw_lesions`.

        Raises:
            ConfigError: unknown profile.
            InputError: a mask that cannot be read, or without a lesion.
        """
        return draw_lesions(profile, self.contrasts[0], rng, masks)

    def painted(self, lesions: tuple[Lesion, ...]) -> Volume:
        """The scan with lesions, and their label values: 1 brighter, 2 darker, 3 of another
        texture, by the first channel.

        A lesion is an offset from the tissue's own intensity, so the coil's gain and what lies
        beneath stay; where tissue is replaced, noise of the scan's strength is added. Where water
        is bright in one channel and dark in another, so are lesions. Where tissue is lost, the scan is
        warped to its new borders and filled with its fluid.

        Deviation: lesions do not push the tissue around them (``mass``), since the map would no
        longer fit.
        """
        where = sites(self.structures, self.spacing, {lesion.site for lesion in lesions})
        placed = [(lesion, centre(lesion, where, self.structures.shape)) for lesion in lesions]
        present = [(lesion, at) for lesion, at in placed if at is not None]
        losses = [(lesion, at) for lesion, at in present if lesion.loss]
        whole = self._with_sulci() if losses else self.structures
        shrunken = shrink(whole, losses, self.spacing) if losses else None
        structures = shrunken.labels if shrunken else whole
        data, kinds = [], np.zeros(structures.shape, dtype=np.uint8)
        usual = self.contrasts[0].bright or 1
        for index, contrast in enumerate(self.contrasts):
            sign = 1 if index == 0 else usual * (contrast.bright or 1)
            scale = np.float32(self.scales[index])
            plain = self.volume.data[index] / scale / self.gains[index]
            x, labels = plain.copy(), np.zeros_like(kinds)
            if shrunken:
                grain = np.random.default_rng([losses[0][0].seed, index]).standard_normal(
                    int(shrunken.lost.sum()), dtype=np.float32
                )
                x = shrunken.shown(plain, contrast, self.noise[index] * grain)
                labels[shrunken.lost] = shrunken.kinds(whole, contrast)
            for number, (lesion, at) in enumerate(present):
                if lesion.loss:
                    continue
                shown = replace(lesion, step=sign * lesion.step, core_step=sign * lesion.core_step, mass=0.0)
                box = box_round(shown, at, x.shape, self.spacing)
                before = x[box].copy()
                paint(x, labels, structures, shown, at=at, contrast=contrast, spacing=self.spacing)
                changed = np.zeros(x.shape, dtype=bool)
                changed[box] = x[box] != before
                voxels = np.flatnonzero(changed)
                # a voxel's noise is the one of its place in the scan
                rng = np.random.default_rng([lesion.seed, index, number])
                grain = rng.standard_normal(voxels.max(initial=-1) + 1, dtype=np.float32)
                x.ravel()[voxels] += self.noise[index] * grain[voxels]
            inside = np.asarray(self.volume.mask)
            labels[~inside] = 0
            change = (np.maximum(x, 0) - plain) * self.gains[index] * scale
            data.append(self.volume.data[index] + np.where(inside & (x != plain), change, 0))
            kinds = labels if index == 0 else kinds
        return self.volume.with_(data=np.stack(data).astype(np.float32), lesion=kinds > 0, kinds=kinds)

    def _with_sulci(self) -> NDArray[np.uint8]:
        """The structures, and fluid where the first channel shows it in cortex: tissue maps hardly
        have sulci, from which tissue is lost first.
        """
        means = self.contrasts[0].means
        x = self.volume.data[0] / np.float32(self.scales[0]) / self.gains[0]
        way = means[a.CSF] - means[a.CORTEX]
        if abs(way) < LEAST_WAY:
            return self.structures
        share = (x - means[a.CORTEX]) / np.float32(way)
        found = self.structures.copy()
        found[a.among(found, (a.CORTEX, a.LIMBIC)) & (share > FLUID_SHARE)] = a.CSF
        return found

    def onto(self, painted: Volume, scan: Volume) -> Volume:
        """Bring what :meth:`painted` changed back into the scan as it was read; elsewhere that is
        untouched.

        Args:
            painted: from :meth:`painted`.
            scan: the volume that :meth:`of` was given.
        """
        change = back(painted.data - self.volume.data, painted, scan)
        kinds = back(np.asarray(painted.labels, dtype=np.float32), painted, scan, order=0).astype(np.uint8)
        return scan.with_(data=scan.data + change, lesion=kinds > 0, kinds=kinds)


def _measured(
    name: str, x: NDArray[np.float32], structures: NDArray[np.uint8], spacing: float
) -> tuple[Contrast, NDArray[np.float32], float]:
    """A channel's contrast, gain (D, H, W) and noise, from its intensities (D, H, W) over their
    scale.
    """
    tissue = (structures > 0) & (structures < a.SKULL) & ~np.isin(structures, (a.VENTRICLE, a.CSF, a.PLEXUS))
    gain = np.ones_like(x)
    means = np.zeros(NUMBERS, dtype=np.float32)
    weight = blur(tissue.astype(np.float32), GAIN_MM / spacing)
    for _ in range(2):  # the means, the gain that is left, the means without it
        flat = x / gain
        for number in range(1, a.STRUCTURES):
            there = structures == number
            means[number] = np.median(flat[there]) if there.sum() >= FEWEST else np.nan
        for number in (a.WHITE, a.CORTEX, *range(1, a.STRUCTURES)):
            if np.isnan(means[number]):
                parent = means[PARENTS.get(number, a.CORTEX)]
                means[number] = parent if np.isfinite(parent) else np.nanmean(means[1 : a.STRUCTURES])
        ratio = np.where(tissue, x / np.maximum(means[structures], 0.05), 0).astype(np.float32)
        gain = np.clip(blur(ratio, GAIN_MM / spacing) / np.maximum(weight, 1e-3), 0.2, 5)
        gain = np.where(weight > 0.02, gain, np.float32(1))
    white = np.isin(structures, (a.WHITE, a.CAPSULE))
    rough = x / gain
    rough = rough - blur(rough, 0.8)
    noise = 1.4826 * float(np.median(np.abs(rough[white]))) if white.any() else 0.0
    contrast = Contrast(
        name=name,
        means=tuple(round(float(value), 4) for value in means),
        spreads=(0.0,) * NUMBERS,
        clusters=(0.0,) * NUMBERS,
        bright=ROWS[name][0] if name in ROWS else 0,
    )
    return contrast, gain.astype(np.float32), round(noise, 4)
