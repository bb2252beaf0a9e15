"""Lesions as shape × source × blend × label, after nnOOD's engine; drawn first, then planted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_erosion, map_coordinates

from aberra.errors import ConfigError, InputError
from aberra.foreground import box_of, region
from aberra.synthesis.filling import filled, saturated
from aberra.synthesis.parameters import BOXES, EDGE_MM, FOREIGN, PATCHES, LesionParameters
from aberra.synthesis.shapes import soft_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.volume import Volume

DISPLACES = ("mass", "ventricle", "tumour")
DARK_TUMOUR = ("t1",)
"""Channels in which a tumour is darker than tissue: it is wet, which T1 shows dark, T2 and FLAIR
bright; contrast agent (``t1ce``) makes it bright, too, as do channels of any other name."""
MOVED_MM = 1.0
"""Voxels displaced by at least this are truth of a displacing lesion."""
CORE = 0.8
"""Share of each axis, around the middle, in which boxes have their centre (Tan et al. 2020)."""


def draw_lesion(
    volume: Volume,
    rng: np.random.Generator,
    *,
    sources: Sequence[str] = ("hyper", "hypo"),
    shapes: Sequence[str] = ("ellipsoid", "blob", "tube"),
    radius_mm: tuple[float, float] = (2.0, 15.0),
    label: str = "binary",
    mask_files: Sequence[str] = (),
    blends: Sequence[str] = (),
    factor: tuple[float, float] = (1.0, 1.0),
    edges: tuple[float, float] = (0.1, 0.4),
    edge_mm: tuple[float, float] = (EDGE_MM, EDGE_MM),
    scale: tuple[float, float] = (1.0, 1.0),
    gain: float = 0.0,
) -> LesionParameters:
    """Draw a lesion that fits into a scan's foreground.

    Args:
        volume: the scan; its mask, or its non-zero voxels, is where lesions may be.
        rng: source of randomness.
        sources: to choose from.
        shapes: to choose from.
        radius_mm: smallest and largest mean radius; log-normal in between, small ones are frequent
            as in MS.
        label: kind of label.
        mask_files: real lesions for shape ``mask``.
        blends: to choose from; none is ``alpha`` or, for half of the patches and textures,
            ``poisson``.
        factor: smallest and largest weight α; uniform.
        edges: smallest and largest edge of a ``box`` (each axis its own) or ``cube`` (all alike)
            over the scan's; uniform.
        edge_mm: narrowest and widest soft edge; uniform.
        scale: of a patch's tissue, smallest and largest; uniform.
        gain: largest relative change of a patch's intensity.

    Raises:
        InputError: no foreground.
    """
    foreground = _foreground(volume)
    source = str(rng.choice(list(sources)))
    shape = str(rng.choice(list(shapes)))
    boxed = shape in BOXES
    if boxed:
        radius, box = _box(volume, edges, rng, alike=shape == "cube")
        core = _middle(foreground)
    else:
        low, high = radius_mm
        limit = max(low, min(high, 0.2 * min(_extents(foreground, volume.spacing))))
        radius = float(np.clip(rng.lognormal(np.log(np.sqrt(low * limit)), 0.5), low, limit))
        if source in DISPLACES:
            radius = max(radius, min(limit, 8.0))
        core = _core(foreground, radius, volume.spacing)
    places = np.argwhere(core)
    if source == "ventricle":  # the fluid at the middle of the brain, not anywhere
        middle = np.argwhere(foreground).mean(axis=0)
        distance = np.sqrt((((places - middle) * volume.spacing) ** 2).sum(axis=1))
        places = places[distance <= max(12.0, float(distance.min()))]
    centre = places[rng.integers(len(places))]
    if source == "foreign":
        offset = [0, 0, 0]
    elif boxed or source == "foreign-shifted":  # from anywhere in the foreground
        offset = [int(index) for index in centre - places[rng.integers(len(places))]]
    else:
        axes = zip(volume.spacing, volume.shape, strict=True)
        reach = [max(1, round(3 * radius / step)) if length > 1 else 0 for step, length in axes]
        offset = [int(rng.integers(-each, each + 1)) if each else 0 for each in reach]
    if blends:
        blend = str(rng.choice(list(blends)))
    else:
        blend = "poisson" if source in {"patch", "texture"} and rng.random() < 0.5 else "alpha"
    mask_file = str(rng.choice(list(mask_files))) if shape == "mask" and mask_files else ""
    stretch = (box if boxed else np.ones(3) if shape == "sphere" else rng.uniform(0.7, 1.4, 3)).round(3)
    return LesionParameters(
        shape=shape,
        source=source,
        blend=blend,
        label=label,
        centre=(int(centre[0]), int(centre[1]), int(centre[2])),
        radius_mm=round(radius, 3),
        stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
        strength=round(float(rng.uniform(0.25, 0.6)), 4),
        offset=(offset[0], offset[1], offset[2]),
        seed=int(rng.integers(2**31)),
        mask_file=mask_file,
        factor=_between(factor, rng),
        edge_mm=_between(edge_mm, rng),
        scale=_between(scale, rng),
        gain=_between((1 - gain, 1 + gain), rng),
    )


def _between(ends: tuple[float, float], rng: np.random.Generator) -> float:
    """Uniform; nothing is drawn of a range that is one number."""
    low, high = ends
    return float(low) if low == high else round(float(rng.uniform(low, high)), 4)


def _box(
    volume: Volume, edges: tuple[float, float], rng: np.random.Generator, *, alike: bool
) -> tuple[float, NDArray[np.float64]]:
    """Mean half edge in mm, and half edges relative to it."""
    share = np.full(3, rng.uniform(*edges)) if alike else rng.uniform(*edges, 3)
    halves = 0.5 * share * np.array(volume.shape) * np.array(volume.spacing)
    radius = float(halves[np.array(volume.shape) > 1].mean())
    return radius, halves / radius


def _middle(foreground: NDArray[np.bool]) -> NDArray[np.bool]:
    """Foreground in the inner part of the grid; all of it where there is none."""
    inner = np.zeros_like(foreground)
    margins = [int(0.5 * (1 - CORE) * length) for length in foreground.shape]
    inner[tuple(slice(m, length - m) for m, length in zip(margins, foreground.shape, strict=True))] = True
    return foreground & inner if (foreground & inner).any() else foreground


def plant(
    volume: Volume, parameters: LesionParameters, other: Volume | None = None
) -> tuple[Volume, NDArray[np.float32]]:
    """Plant a lesion; the same parameters in the same scan give the same bytes.

    Args:
        volume: the scan, one or several channels.
        parameters: from :func:`draw_lesion`.
        other: the scan that foreign tissue is taken from; same shape and channels.

    Returns:
        The scan with the lesion added to ``lesion`` (D, H, W), and the label (D, H, W): 0/1, in [0,
        1] or mm.

    Raises:
        InputError: no foreground, or a mask file that cannot be read.
        ConfigError: foreign tissue without another scan.
    """
    if parameters.source in FOREIGN and other is None:
        raise ConfigError(f"lesion source '{parameters.source}': needs another scan to take tissue from")
    giver = other if other is not None and parameters.source in FOREIGN else volume
    foreground = _foreground(volume)
    alpha = soft_shape(parameters, volume.shape, volume.affine) * foreground
    data = volume.data.copy()
    moved = np.zeros(volume.shape, dtype=np.float32)
    if parameters.source in DISPLACES:
        where, moved = _magnified(parameters, volume)
        data = np.stack([map_coordinates(channel, where, order=1, mode="nearest") for channel in data])
        data *= foreground
    if parameters.source != "ventricle":
        for index, name in enumerate(volume.channels):
            shown = "hypo" if name in DARK_TUMOUR else "hyper"
            data[index] = filled(
                data[index],
                giver.data[index],
                alpha=alpha,
                foreground=foreground,
                source=shown if parameters.source == "tumour" else parameters.source,
                parameters=parameters,
                giver=giver,
            )
    truth = alpha >= 0.5
    before = volume.lesion
    if parameters.source in {"mass", "ventricle"}:
        truth |= foreground & (moved >= MOVED_MM)
    elif (
        parameters.source == "tumour" and before is not None
    ):  # lesions that are there already are pushed away, too
        before = foreground & (map_coordinates(before.astype(np.float32), where, order=1) >= 0.5)
    label = _label(
        parameters, volume.data, data, alpha=alpha, truth=truth, foreground=foreground, moved=moved
    )
    lesion = truth if before is None else before | truth
    return volume.with_(data=data.astype(np.float32), lesion=lesion), label.astype(np.float32)


def _label(
    parameters: LesionParameters,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    *,
    alpha: NDArray[np.float32],
    truth: NDArray[np.bool],
    foreground: NDArray[np.bool],
    moved: NDArray[np.float32],
) -> NDArray[Any]:
    """The label that was asked for, (D, H, W)."""
    if parameters.label == "displacement":
        return moved * foreground
    if parameters.label == "soft":
        label = alpha * np.float32(parameters.factor)
        patch = parameters.source in PATCHES
        # (1 − α)x + αx is x but for rounding
        return label * ~np.isclose(after, before, rtol=1e-5, atol=0).all(axis=0) if patch else label
    return truth if parameters.label == "binary" else truth * saturated(after - before, before[:, foreground])


def _magnified(
    parameters: LesionParameters, volume: Volume
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates (3, D, H, W) that enlarge tissue around the centre, and how far each voxel moved
    in mm.
    """
    index = np.indices(volume.shape, dtype=np.float32)
    centre = np.array(parameters.centre, dtype=np.float32).reshape(3, 1, 1, 1)
    spacing = np.array(volume.spacing, dtype=np.float32).reshape(3, 1, 1, 1)
    away = (index - centre) * spacing
    distance = np.sqrt((away**2).sum(axis=0))
    reach = 1.6 * parameters.radius_mm
    # r·(1 − s·exp(−(r/reach)²)) grows with r for s < 0.69, so tissue is never folded over
    shrink = (0.4 + 0.25 * parameters.strength) * np.exp(-((distance / reach) ** 2))
    return centre + away * (1 - shrink) / spacing, (distance * shrink).astype(np.float32)


def _foreground(volume: Volume) -> NDArray[np.bool]:
    foreground = region(volume)
    if not foreground.any():
        raise InputError(f"{volume.provenance.get('path', 'scan')}: no foreground to plant a lesion in")
    return foreground


def _extents(foreground: NDArray[np.bool], spacing: tuple[float, float, float]) -> list[float]:
    """Edges of the foreground's bounding box in mm, axes of length 1 left out."""
    parts = zip(box_of(foreground), spacing, foreground.shape, strict=True)
    return [float((part.stop - part.start) * step) for part, step, length in parts if length > 1] or [1.0]


def _core(
    foreground: NDArray[np.bool], radius_mm: float, spacing: tuple[float, float, float]
) -> NDArray[np.bool]:
    """Foreground whose surroundings are foreground, too, so that most of the lesion lies inside."""
    axes = zip(spacing, foreground.shape, strict=True)
    size = [max(1, 2 * round(0.8 * radius_mm / step) + 1) if length > 1 else 1 for step, length in axes]
    core = foreground
    for axis, edge in enumerate(size):
        line = np.ones([edge if other == axis else 1 for other in range(3)], dtype=bool)
        core = binary_erosion(core, line, border_value=0)
    return core if core.any() else foreground
