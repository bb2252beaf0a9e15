"""From a raw score map to a clean map, a mask and its regions, in the comparative study's order.

Eroded mask → (positive residuals are a mode of the residual score) → (bright voxels only) →
(bilateral filter) → 3-D median → (weight by depth) → threshold → 3-D components (Baur et al. 2021,
arXiv 2004.03271, section "Post-processing"). Every step can be switched off. All lengths are in
millimetres, so that they mean the same on every grid; an image without a resolution counts 1 mm a
pixel of the file.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from aberra.foreground import EVERYWHERE, box_of
from aberra.options import NotNegative, ShareAboveZero, Within, configured
from aberra.result import Component

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

SLAB = 32
"""Slices filtered at once: bounds the working memory of a 512³ volume."""

SPECK_MM3 = 1000.0
"""A hole in the mask that is smaller has no rim: single voxels of a stripped brain are 0 by
chance."""


class PostProcess:
    """Cleans a map and cuts it into regions.

    Args:
        erode_mm: width of the rim of the mask that is set to zero, where partial volume and
            imperfect skull stripping make residuals. 0 switches it off.
        median_mm: edge of the 3-D median filter. Along each axis it is the odd number of prepared
            voxels, 1 or more, that comes nearest, the smaller of two; so it stays within slices
            that are far apart. 0 switches it off.
        bright: the map is zero where every channel of the prepared scan is below this quantile of
            itself inside the mask, a prior for lesions brighter than tissue: 0.9 as in the public
            code of Baur et al. 2021. 0 switches it off.
        bilateral_mm: σ in space of a bilateral filter of the map before the median; its σ in values
            is the map's standard deviation inside the mask. 0 switches it off.
        depth_mm: the map is multiplied by the distance to the mask's edge, as a share of this, at
            most 1; 0 switches it off.
        min_mm3: regions smaller than this are dropped.

    Raises:
        ConfigError: a value is negative, or ``bright`` not below 1.

    Deviation: the study's code erodes by 12 pixels at 128², the text says "slightly"; ours is in
    mm. The study's median is 5×5×5 voxels on any grid, which is 8 mm on one of 1.6 mm and takes
    small lesions away. Its quantile is over the whole array, so that it depends on how much air the
    field of view holds; ours is over the mask. A bilateral filter is named there without its
    widths.
    """

    @configured("postprocess")
    def __init__(
        self,
        *,
        erode_mm: NotNegative = 2.0,
        median_mm: NotNegative = 3.0,
        bright: Annotated[float, Within(0, 1, "[)")] = 0.0,
        bilateral_mm: NotNegative = 0.0,
        depth_mm: NotNegative = 0.0,
        min_mm3: NotNegative = 8.0,
    ) -> None:
        self.erode_mm = erode_mm
        self.median_mm = median_mm
        self.bright = bright
        self.bilateral_mm = bilateral_mm
        self.depth_mm = depth_mm
        self.min_mm3 = min_mm3

    def clean(
        self, values: NDArray[np.float32], inside: NDArray[np.bool], spacing: tuple[float, float, float]
    ) -> NDArray[np.float32]:
        """Filter, and zero everything outside.

        Args:
            values: map on the prepared grid, shape (D, H, W).
            inside: from :meth:`inside`, same shape.
            spacing: of the grid in mm.

        Returns:
            The cleaned map, same shape.
        """
        cleaned = np.zeros_like(values)
        if not inside.any():
            return cleaned
        # filter only where something is judged, and the filter's reach around it
        edges = self.edges(values.shape, spacing)
        margins = [
            edge // 2 + ceil(3 * self.bilateral_mm / step) for edge, step in zip(edges, spacing, strict=True)
        ]
        reach = tuple(
            slice(max(0, part.start - margin), part.stop + margin)
            for part, margin in zip(box_of(inside), margins, strict=True)
        )
        filtered = values[reach]
        if self.bilateral_mm:
            filtered = _bilateral(filtered, self.bilateral_mm, float(values[inside].std()), spacing)
        cleaned[reach] = np.where(inside[reach], _median(filtered, edges), np.float32(0))
        return cleaned

    def limit(self, values: NDArray[np.float32], prepared: Volume) -> NDArray[np.float32]:
        """Zero a map (D, H, W) where the scan is not bright, where that is asked for."""
        if not self.bright:
            return values
        inside = prepared.judged
        bright = np.zeros(values.shape, bool)
        for channel in prepared.data:
            bright |= channel >= np.quantile(channel[inside], self.bright)
        return np.where(bright, values, np.float32(0))

    def edges(self, shape: Sequence[int], spacing: Sequence[float]) -> list[int]:
        """The median's edges in voxels of a grid, odd; 1 where it does nothing."""
        return [
            1 if length == 1 else max(1, 2 * ceil((self.median_mm / step - 1) / 2 - 0.5 - 1e-6) + 1)
            for length, step in zip(shape, spacing, strict=True)
        ]

    def inside(self, prepared: Volume) -> NDArray[np.bool]:
        """The mask without its rim, shape (D, H, W); the whole mask where erosion would leave
        nothing.
        """
        mask = prepared.judged
        if not self.erode_mm or mask.all():
            return mask
        eroded = _depth(mask, prepared.spacing) > self.erode_mm
        return eroded if eroded.any() else mask

    def weigh(self, cleaned: NDArray[np.float32], prepared: Volume) -> NDArray[np.float32]:
        """Multiply a map (D, H, W) by depth, where that is asked for; a mask without an edge is
        deep everywhere.
        """
        mask = prepared.mask
        if not self.depth_mm or mask is None or mask.all():
            return cleaned
        share = np.minimum(_depth(mask, prepared.spacing) / self.depth_mm, 1)
        return (cleaned * share).astype(np.float32)

    def segment(
        self, values: NDArray[np.float32], grid: Volume, threshold: float
    ) -> tuple[NDArray[np.bool], list[Component]]:
        """Threshold a map on the scan's grid and keep the regions that are large enough.

        Args:
            values: map, shape (D, H, W).
            grid: a volume on the same grid, for mm.
            threshold: voxels strictly above it are anomalous.

        Returns:
            The mask, shape (D, H, W), and its regions, largest first.
        """
        from scipy.ndimage import find_objects, label

        labels, _ = label(values > threshold, structure=EVERYWHERE)
        sizes = np.bincount(labels.ravel())
        needed = self.min_mm3 / grid.voxel_mm3 - 1e-6
        mask = np.zeros(values.shape, dtype=bool)
        components = []
        for index, box in enumerate(find_objects(labels), start=1):
            if box is None or sizes[index] < needed:
                continue
            region = labels[box] == index
            mask[box] |= region
            components.append(_component(region, values[box], [part.start for part in box], grid))
        components.sort(key=lambda component: (-component.voxels, component.centre_index))
        return mask, components


def _depth(mask: NDArray[np.bool], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Distance of each voxel's centre to the nearest one outside, in mm; 0 outside.

    Beyond the grid nothing is outside, nor are specks.
    """
    from scipy.ndimage import distance_transform_edt, label

    holes, count = label(~mask)
    specks = np.bincount(holes.ravel(), minlength=count + 1) * np.prod(spacing) < SPECK_MM3
    specks[0] = False
    return np.asarray(distance_transform_edt(mask | specks[holes], sampling=spacing) * mask)


def _median(values: NDArray[np.float32], edges: Sequence[int]) -> NDArray[np.float32]:
    """Median over boxes of ``edges`` voxels, slab by slab."""
    from scipy.ndimage import median_filter

    if max(edges) == 1:
        return values
    halo = edges[0] // 2
    filtered = np.empty_like(values)
    for start in range(0, len(values), SLAB):
        low, high = max(start - halo, 0), min(start + SLAB + halo, len(values))
        block = median_filter(values[low:high], size=edges, mode="nearest")
        stop = min(start + SLAB, len(values))
        filtered[start:stop] = block[start - low : stop - low]
    return filtered


def _bilateral(
    values: NDArray[np.float32], width: float, spread: float, spacing: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Bilateral filter with σ ``width`` in mm and ``spread`` in map values; a map without spread is
    its own.
    """
    import SimpleITK as sitk

    if not spread:
        return values
    image: Any = sitk.GetImageFromArray(values)
    image.SetSpacing([float(step) for step in reversed(spacing)])
    found: NDArray[np.float32] = sitk.GetArrayFromImage(sitk.Bilateral(image, width, spread))
    return found


def _component(
    region: NDArray[np.bool], values: NDArray[np.float32], start: list[int], grid: Volume
) -> Component:
    """Measure one region given in its bounding box that begins at ``start``."""
    where = np.argwhere(region) + start
    centre = where.mean(axis=0)
    nearest = where[((where - centre) ** 2).sum(axis=1).argmin()]
    x, y, z = (round(float(place), 3) for place in (grid.affine @ [*centre, 1.0])[:3])
    inside = values[region]
    return Component(
        volume_mm3=round(len(where) * grid.voxel_mm3, 3),
        voxels=len(where),
        centre_mm=(x, y, z),
        centre_index=(int(nearest[0]), int(nearest[1]), int(nearest[2])),
        peak=float(inside.max()),
        mean=float(inside.mean()),
    )


class CaseScore:
    """One number for a case from its cleaned map, or from the map of a second score
    (``[case] score = {name = ...}``).

    Args:
        reduce: ``top-mean`` (mean of the highest ``fraction`` of voxels inside the mask), ``mean``,
            ``rms`` (root of the mean square), ``max`` or ``percentile`` (the ``1 - fraction``
            quantile).
        fraction: share of the mask's voxels, in (0, 1].

    Raises:
        ConfigError: unknown reduction or a fraction outside (0, 1].
    """

    @configured("case")
    def __init__(
        self,
        *,
        reduce: Literal["top-mean", "mean", "rms", "max", "percentile"] = "top-mean",
        fraction: ShareAboveZero = 0.01,
    ) -> None:
        self.reduce = reduce
        self.fraction = fraction

    def __call__(self, values: NDArray[np.float32], inside: NDArray[np.bool]) -> float:
        """Reduce a map (D, H, W) over the voxels of ``inside``."""
        chosen = values[inside]
        if not chosen.size:
            return 0.0
        if self.reduce == "mean":
            return float(chosen.mean(dtype=np.float64))
        if self.reduce == "rms":
            return float(np.sqrt(np.square(chosen, dtype=np.float64).mean()))
        if self.reduce == "max":
            return float(chosen.max())
        if self.reduce == "percentile":
            return float(np.quantile(chosen, 1 - self.fraction))
        count = max(1, round(self.fraction * chosen.size))
        return float(np.partition(chosen, chosen.size - count)[-count:].mean(dtype=np.float64))
