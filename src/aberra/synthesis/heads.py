"""Images of label maps: real anatomy, drawn contrast, lesions, things that look like lesions and
are none, and a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.synthesis import anatomy as a
from aberra.synthesis.atrophy import shrink
from aberra.synthesis.contrast import HU, Contrast, draw_contrast
from aberra.synthesis.fields import rotation
from aberra.synthesis.grids import along, blur, smooth, thick
from aberra.synthesis.profiles import Lesion, centre, draw_lesions, paint, sites
from aberra.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aberra.synthesis.anatomy import Anatomy

COARSE = 4
"""Voxels between the nodes on which coordinates are computed."""

FLUID = (a.VENTRICLE, a.CSF)

LEAKING = 0.3
"""Share of masks that take in something outside the brain."""

NOISE_HU = (1.5, 6.0)
"""σ of the noise of CT."""

HIGHEST_HU = 3071.0
"""Top of a CT scanner's scale."""


@dataclass(frozen=True, kw_only=True)
class HeadParameters:
    """Everything that is drawn about an image; :func:`render_head` adds nothing to it.

    Attributes:
        contrast: intensities of the structures.
        lesions: what is painted as anomaly.
        mirror: left and right exchanged.
        turn: rotation in radians about the three axes.
        scale: along the axes.
        warp: standard deviation of the deformation, mm; ``warp_width`` is its correlation length.
        rim: brightening of the ventricles' border, share of the contrast's reach; ``rim_width`` mm.
        surface: change of the brain's outermost millimetres, share of the reach.
        flow: change of parts of the fluid, share of the reach.
        spots: small bright and dark spots in the fluid: vessels, pineal gland.
        tight: the brain mask leaves outer CSF out.
        margin: mean error of the mask, from −0.3 (too wide) to 0.3 (too narrow); ``rough`` how it
            varies.
        leaks: places where the mask takes in marrow and fat, as brain extraction does at the
            vertex and above the eyes; ``leak`` is their radius and depth in mm, and how bright they
            are at most, share of the brightest tissue.
        bias: strength of the bias field, log scale; ``bias_width`` mm.
        blur: σ of the point spread, mm.
        slices: axis, distance and width of slices in mm, offset in slices; None for isotropic
            scans.
        noise: σ of the Rician noise.
        gamma: log of the exponent of the intensity curve.
        ghost: strength of a ghost; ``ghost_shift`` is where it lies, share of the axis.
        seed: of anatomy, texture and mask; ``scan_seed`` of bias and noise.
    """

    contrast: Contrast
    lesions: tuple[Lesion, ...]
    mirror: bool
    turn: tuple[float, float, float]
    scale: tuple[float, float, float]
    warp: float
    warp_width: float
    rim: float
    rim_width: float
    surface: float
    flow: float
    spots: int
    tight: bool
    margin: float
    rough: float
    leaks: int
    leak: tuple[float, float, float]
    bias: float
    bias_width: float
    blur: float
    slices: tuple[int, float, float, float] | None
    noise: float
    gamma: float
    ghost: float
    ghost_shift: float
    seed: int
    scan_seed: int


def draw_head(
    rng: np.random.Generator, contrast: str, profiles: Sequence[str] = (), masks: Sequence[str] = ()
) -> HeadParameters:
    """Draw an image.

    Args:
        rng: source of randomness.
        contrast: a name of :data:`aberra.synthesis.contrast.CONTRASTS`.
        profiles: names of ``profiles.toml`` whose lesions the head has; none is healthy.
        masks: files of real lesion masks whose shapes the lesions have.

    Raises:
        ConfigError: unknown contrast or profile.
        InputError: a mask that cannot be read, or without a lesion.
    """

    def u(low: float, high: float, chance: float = 1.0) -> float:
        value, happens = rng.uniform(low, high), rng.random() < chance
        return round(float(value), 4) if happens else 0.0

    def three(low: float, high: float) -> tuple[float, float, float]:
        return u(low, high), u(low, high), u(low, high)

    shown = draw_contrast(contrast, rng)
    careless = rng.random() < 0.45
    step = u(2, 7)
    axis = int(rng.choice(3, p=(0.66, 0.17, 0.17)))
    drawn = HeadParameters(
        contrast=shown,
        lesions=tuple(lesion for name in profiles for lesion in draw_lesions(name, shown, rng, masks)),
        mirror=bool(rng.random() < 0.5),
        turn=three(-0.2, 0.2),
        scale=three(0.87, 1.15),
        warp=u(0, 4.5),
        warp_width=u(18, 40),
        rim=u(-0.1, 0.4, 0.5),
        rim_width=u(0.7, 1.7),
        surface=u(-0.25, 0.35, 0.4),
        flow=u(-0.3, 0.7, 0.35),
        spots=int(rng.poisson(4)) if rng.random() < 0.6 else 0,
        tight=bool(rng.random() < 0.25),
        margin=u(-0.3, 0.3) if careless else u(-0.05, 0.05),
        rough=u(0, 0.25) if careless else 0.0,
        bias=u(0, 0.22),
        bias_width=u(45, 120),
        blur=u(0.35, 0.9),
        slices=(axis, step, round(step * u(0.7, 1.1), 3), u(0, 1)) if rng.random() < 0.5 else None,
        noise=u(0, 0.045) * max(shown.means[1 : a.STRUCTURES]),
        gamma=u(-0.3, 0.3, 0.5),
        ghost=u(0.03, 0.12, 0.05),
        ghost_shift=u(0.2, 0.8),
        seed=int(rng.integers(2**31)),
        scan_seed=int(rng.integers(2**31)),
        leaks=int(rng.integers(1, 4)) if rng.random() < LEAKING else 0,
        leak=(u(8, 35), u(2, 9), u(0.3, 1.6)),
    )
    return _computed(drawn, u(*NOISE_HU) / HU) if shown.hounsfield else drawn


def _computed(head: HeadParameters, noise: float) -> HeadParameters:
    """The same head in a CT scanner: slices are axial, bone does not leak into the mask, and there is
    neither coil nor flow.
    """
    slices = (0, *head.slices[1:]) if head.slices else None
    none = dict.fromkeys(("rim", "surface", "flow", "margin", "rough", "bias", "gamma", "ghost"), 0.0)
    return replace(head, noise=noise, slices=slices, tight=False, leaks=0, **none)  # type: ignore[arg-type]


def draw_scans(
    rng: np.random.Generator,
    contrasts: Sequence[str],
    profiles: Sequence[str] = (),
    masks: Sequence[str] = (),
) -> tuple[HeadParameters, ...]:
    """Draw one head in several contrasts: the first is :func:`draw_head`'s; the others share its
    anatomy and lesions, not the scanner.

    A lesion that is bright in one contrast is dark in another where water is.

    Raises:
        ConfigError: unknown contrast or profile.
    """
    first, *others = (
        draw_head(rng, name, () if index else profiles, masks) for index, name in enumerate(contrasts)
    )
    usual = first.contrast.bright or 1
    scans = [first]
    for other in others:
        sign = usual * (other.contrast.bright or 1)
        lesions = tuple(
            replace(each, step=sign * each.step, core_step=sign * each.core_step) for each in first.lesions
        )
        same = (
            "mirror",
            "turn",
            "scale",
            "warp",
            "warp_width",
            "tight",
            "margin",
            "rough",
            "leaks",
            "leak",
            "seed",
        )
        scans.append(replace(other, lesions=lesions, **{name: getattr(first, name) for name in same}))
    return tuple(scans)


def render_head(
    head: HeadParameters, anatomy: Anatomy, spacing: float = 1.5, *, whole: bool = False
) -> Volume:
    """Make the image; the same parameters give the same bytes.

    Args:
        head: from :func:`draw_head`.
        anatomy: the label map.
        spacing: isotropic voxel size in mm.
        whole: keep skull and skin, as far as the label map has them; the mask is the brain's all
            the same.

    Returns:
        A scan, axes SPL, zero outside its mask unless ``whole``, with its lesions: label values 1
        brighter, 2 darker, 3 of another texture. CT is in whole HU.
    """
    return rendered(head, anatomy, spacing, whole=whole)[0]


def rendered(
    head: HeadParameters, anatomy: Anatomy, spacing: float = 1.5, *, whole: bool = False
) -> tuple[Volume, NDArray[np.uint8]]:
    """As :func:`render_head`, and the structure of each voxel, shape (D, H, W)."""
    rng = np.random.default_rng(head.seed)
    labels, centres = _deformed(head, anatomy, spacing, rng, whole=whole)
    kinds = np.zeros(labels.shape, dtype=np.uint8)
    present = [(lesion, at) for lesion, at in zip(head.lesions, centres, strict=True) if at is not None]
    if losses := [(lesion, at) for lesion, at in present if lesion.loss]:
        shrunken = shrink(labels, losses, spacing)
        kinds[shrunken.lost] = shrunken.kinds(labels, head.contrast)
        labels = shrunken.labels
    x = _tissue(head, labels, spacing, rng)
    if whole:
        x[labels == 0] = head.contrast.least
    for lesion, at in present:
        if not lesion.loss:
            paint(x, kinds, labels, lesion, at=at, contrast=head.contrast, spacing=spacing)
    mask = _mask(head, labels, spacing, np.random.default_rng([head.seed, 1]))
    if head.leaks:
        _leak(head, x, mask, labels, spacing=spacing, rng=np.random.default_rng([head.seed, 2]))
    kinds[~mask] = 0
    x = acquired(head, x, spacing, np.random.default_rng(head.scan_seed))
    x = x if whole else x * mask
    affine = np.array(
        [[0, 0, -spacing, 0], [0, -spacing, 0, 0], [spacing, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64
    )
    volume = Volume(
        data=x[None],
        affine=affine,
        channels=(head.contrast.name if head.contrast.name != "random" else "image",),
        mask=mask,
        lesion=kinds > 0,
        kinds=kinds,
        provenance={"kind": "volume", "format": "phantom", "anatomy": anatomy.name, "warnings": []},
    )
    return volume, labels


def _deformed(
    head: HeadParameters, anatomy: Anatomy, spacing: float, rng: np.random.Generator, *, whole: bool
) -> tuple[NDArray[np.uint8], list[tuple[int, ...] | None]]:
    """The label map as it lies in the scan, cropped to the brain unless ``whole``, and where each
    lesion's centre is.
    """
    size = np.array(anatomy.labels.shape) * np.array(anatomy.spacing)
    shape = [int(np.ceil(edge * scale / spacing)) for edge, scale in zip(size, head.scale, strict=True)]
    nodes = [-(-length // COARSE) + 1 for length in shape]
    middle = (np.array(shape) - 1) / 2
    axes = [(np.arange(count) * COARSE - c) * spacing for count, c in zip(nodes, middle, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    width = head.warp_width / spacing / COARSE
    warp = np.stack([smooth(nodes, width, rng) for _ in range(3)], axis=-1) * head.warp
    turn = rotation(head.turn).astype(np.float32)
    where = (grid @ turn) / np.array(head.scale) + warp
    if head.mirror:
        where[..., 2] *= -1
    jitter = [0.25 * rng.standard_normal(shape, dtype=np.float32) for _ in range(3)]

    def look(points: NDArray[np.float64], box: tuple[slice, ...]) -> NDArray[np.uint8]:
        index = []
        inside: NDArray[np.bool] = np.ones(1, dtype=bool)
        for axis in range(3):
            part = (points[..., axis] + size[axis] / 2) / anatomy.spacing[axis] - 0.5
            full = part.astype(np.float32)
            for other, length in enumerate(shape):
                full = along(full, _linear(length)[box[other]], other)
            number = np.rint(full + jitter[axis][box]).astype(np.int32)
            ok = (number >= 0) & (number < anatomy.labels.shape[axis])
            inside = inside & ok
            index.append(np.where(ok, number, 0))
        found: NDArray[np.uint8] = anatomy.labels[tuple(index)] * inside
        return found

    box = tuple(slice(0, length) for length in shape)
    if not whole:
        coarse = look(where, tuple(slice(0, length, 3) for length in shape))
        hit = np.argwhere((coarse > 0) & (coarse < a.SKULL)) * 3
        box = tuple(
            slice(max(0, int(low) - 5), min(length, int(high) + 6))
            for low, high, length in zip(hit.min(axis=0), hit.max(axis=0), shape, strict=True)
        )
    labels = look(where, box)
    places = sites(labels, spacing, {lesion.site for lesion in head.lesions}) if head.lesions else {}
    centres = [centre(lesion, places, labels.shape) for lesion in head.lesions]
    pushing = [(lesion, at) for lesion, at in zip(head.lesions, centres, strict=True) if lesion.mass and at]
    for lesion, at in pushing:
        offset = grid - np.array(
            [(each + part.start - c) * spacing for each, part, c in zip(at, box, middle, strict=True)]
        )
        far = np.linalg.norm(offset, axis=-1, keepdims=True)
        # tissue at the border looks as far inwards as it was pushed, decaying over a radius and
        # a half
        decay = lesion.mass * np.exp(-((far / (1.6 * lesion.radius)) ** 2))
        push = decay * offset / np.maximum(far, lesion.radius)
        where[..., :] -= (push @ turn) / np.array(head.scale) * (np.array((1, 1, -1)) if head.mirror else 1)
    return (look(where, box) if pushing else labels), centres


def _linear(length: int) -> NDArray[np.float32]:
    """Interpolation of nodes :data:`COARSE` voxels apart, (length, nodes)."""
    nodes = -(-length // COARSE) + 1
    place = np.arange(length)[:, None] / COARSE - np.arange(nodes)
    found: NDArray[np.float32] = np.clip(1 - np.abs(place), 0, 1).astype(np.float32)
    return found


def _tissue(
    head: HeadParameters, labels: NDArray[np.uint8], spacing: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Structures, their sub-structures and texture, and what is bright in healthy brains."""
    shape = labels.shape
    means, spreads, clusters = (
        np.array(values, dtype=np.float32)
        for values in (head.contrast.means, head.contrast.spreads, head.contrast.clusters)
    )
    reach = np.float32(head.contrast.reach)
    x = means[labels]
    parts = np.tanh(3 * (smooth(shape, 24 / spacing, rng) - 0.3)) + 0.6 * np.tanh(
        3 * smooth(shape, 9 / spacing, rng)
    )
    x += clusters[labels] * parts
    grain = 0.5 * rng.standard_normal(shape, dtype=np.float32)
    grain += 0.5 * smooth(shape, 3 / spacing, rng) + 0.5 * smooth(shape, 9 / spacing, rng)
    x += spreads[labels] * grain
    fluid = np.isin(labels, FLUID)
    tissue = (labels > 0) & (labels < a.SKULL) & ~fluid
    if head.rim:
        near = blur((labels == a.VENTRICLE).astype(np.float32), head.rim_width / spacing)
        varied = np.clip(0.6 + 0.6 * smooth(shape, 15 / spacing, rng), 0, 1.4)
        x += tissue * head.rim * reach * np.clip(2 * near, 0, 1) * varied
    if head.flow:
        patchy = np.clip(smooth(shape, rng.uniform(6, 20) / spacing, rng) - rng.uniform(0, 1.2), 0, 1.2)
        x += fluid * head.flow * reach * patchy
    if head.surface:
        brain = ((labels > 0) & (labels < a.SKULL)).astype(np.float32)
        outer = blur(brain, 1.5 / spacing) < 0.75
        x += (outer & (smooth(shape, 7 / spacing, rng) > rng.uniform(-0.5, 0.8))) * head.surface * reach
    spots = np.flatnonzero(fluid)
    for _ in range(head.spots if len(spots) else 0):
        at = np.unravel_index(int(rng.choice(spots)), shape)
        _spot(x, labels, at, rng.uniform(1, 4) / spacing, float(rng.uniform(-0.3, 1.1) * reach))
    return np.maximum(x, head.contrast.least, out=x)


def _spot(
    x: NDArray[np.float32], labels: NDArray[np.uint8], at: tuple[Any, ...], radius: float, change: float
) -> None:
    """A small round thing in the fluid."""
    box, distance = _ball(x.shape, at, 2 * radius)
    soft = np.clip(radius - distance + 0.5, 0, 1) * np.isin(labels[box], FLUID)
    x[box] += (soft * change).astype(np.float32)


def _ball(
    shape: tuple[int, ...], at: tuple[Any, ...], reach: float
) -> tuple[tuple[slice, ...], NDArray[np.floating]]:
    """A box of ``reach`` voxels around a voxel, and each voxel's distance from that."""
    edge = int(np.ceil(reach + 1))
    box = tuple(slice(max(0, int(c) - edge), int(c) + edge + 1) for c in at)
    axes = [np.arange(shape[k])[part] - at[k] for k, part in enumerate(box)]
    distance: NDArray[np.floating] = np.sqrt(
        sum(each**2 for each in np.meshgrid(*axes, indexing="ij", sparse=True))
    )
    return box, distance


def _mask(
    head: HeadParameters, labels: NDArray[np.uint8], spacing: float, rng: np.random.Generator
) -> NDArray[np.bool]:
    """The brain mask that came with the scan, with its errors."""
    brain = (labels > 0) & (labels < a.SKULL)
    if head.tight:
        brain &= labels != a.CSF
    level = 0.5 + head.margin
    near = blur(brain.astype(np.float32), 2.5 / spacing)
    if head.rough:
        near += head.rough * smooth(labels.shape, 25 / spacing, rng)
    found: NDArray[np.bool] = near > level
    return found


def _leak(
    head: HeadParameters,
    x: NDArray[np.float32],
    mask: NDArray[np.bool],
    labels: NDArray[np.uint8],
    *,
    spacing: float,
    rng: np.random.Generator,
) -> None:
    """Widen the mask by lenses of the head around the brain, in place, and make what they show as
    bright as fat may be.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    radius, depth, bright = head.leak
    surface = np.flatnonzero(mask & ~binary_erosion(mask))
    top = bright * max(head.contrast.means[: a.STRUCTURES])
    for _ in range(head.leaks if len(surface) else 0):
        at = np.unravel_index(int(rng.choice(surface)), mask.shape)
        box, far = _ball(mask.shape, at, radius / spacing)
        out = distance_transform_edt(~mask[box]) * spacing
        lens = ~mask[box] & (labels[box] > 0) & (out < depth * (1 - (far * spacing / radius) ** 2))
        varied = np.clip(0.6 + 0.5 * smooth(lens.shape, 4 / spacing, rng), 0, 1)
        x[box] = np.where(lens & (labels[box] != a.CSF), top * varied, x[box])
        mask[box] |= lens


def acquired(
    head: HeadParameters, x: NDArray[np.float32], spacing: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """What a scanner makes of an image (D, H, W) of about 0 to 1: curve, bias, resolution, ghost,
    noise; of CT, resolution and noise, in HU.
    """
    hounsfield = head.contrast.hounsfield
    x = np.maximum(x, head.contrast.least)  # a foreign texture may have dug below
    if head.gamma:
        top = np.float32(1.2)
        x = top * (x / top) ** np.float32(np.exp(head.gamma))
    if head.bias or not hounsfield:
        x = x * np.exp(head.bias * smooth(x.shape, head.bias_width / spacing, rng))
    x = blur(x, head.blur / spacing)
    if head.ghost:
        x += head.ghost * np.roll(x, int(head.ghost_shift * x.shape[1]), axis=1)
    back = None
    if head.slices:
        axis, step, width, offset = head.slices
        down, back = thick(x.shape[axis], step / spacing, width / spacing, offset)
        x = along(x, down, axis)
    if head.noise:
        real = x + head.noise * rng.standard_normal(x.shape, dtype=np.float32)
        imaginary = head.noise * rng.standard_normal(x.shape, dtype=np.float32)
        x = real if hounsfield else np.hypot(real, imaginary)
    if back is not None:
        x = along(x, back, axis)
    if hounsfield:
        x = np.clip(np.rint(HU * x), HU * head.contrast.least - 24, HIGHEST_HU)
    return np.ascontiguousarray(x, dtype=np.float32)
