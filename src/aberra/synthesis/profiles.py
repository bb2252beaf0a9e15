"""Lesions by disease: ranges are data (``profiles.toml``); one lesion is drawn first and painted
after.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError, expect_known
from aberra.synthesis import anatomy as a
from aberra.synthesis.fields import rotation
from aberra.synthesis.grids import blur, smooth
from aberra.synthesis.masks import real_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from aberra.synthesis.contrast import Contrast

SITES = ("white", "periventricular", "juxtacortical", "cortex", "deep", "infratentorial", "any")
BRIGHT, DARK, TEXTURE = 1, 2, 3
"""Label values of a lesion's voxels: brighter or darker than the tissue was, or neither but of
another texture."""

FAINT = 0.7
"""Where water is dark (T1), most lesions are darker than the tissue that they lie in, but not than
cortex."""

CLEAR = 0.06
"""Change of intensity, as share of the contrast's reach, from which a voxel counts as brighter or
darker."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The ranges of one disease; the keys are explained in ``profiles.toml``."""

    name: str
    count: tuple[int, int]
    radius: tuple[float, float]
    sites: Mapping[str, float]
    spreads: str
    stretch: tuple[float, float]
    wobble: tuple[float, float]
    step: tuple[float, float]
    iso: float = 0.0
    against: float = 0.0
    core: Mapping[str, object] = field(default_factory=dict)
    rim: float = 0.0
    mass: tuple[float, float] = (0.0, 0.0)
    wedge: float = 0.0
    foreign: float = 0.0
    loss: Mapping[str, Any] = field(default_factory=dict)
    contrasts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def seen_by(self, contrast: str) -> Profile:
        """The ranges as a contrast shows the disease."""
        own = self.contrasts.get(contrast)
        return replace(self, **own) if own else self


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name."""
    text = (files("aberra") / "synthesis" / "profiles.toml").read_text(encoding="utf-8")
    return {name: Profile(name=name, **table) for name, table in tomllib.loads(text).items()}


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """Everything that is drawn about a lesion.

    Attributes:
        profile: its disease.
        site: where its centre lies, one of :data:`SITES`.
        place: which of that site's voxels it is, as a share in [0, 1).
        radius: mean radius, mm.
        stretch: of the axes.
        turn: rotation, three angles.
        wobble: of the border, share of the radius; ``grain`` is its correlation length, share of
            the radius.
        edge: width of the soft edge, mm.
        spreads: ``tissue``, ``white`` or ``any``.
        step: signed change of intensity, share of the contrast's reach.
        iso: whether the level starts from the tissue at the centre.
        opacity: share of the tissue that it replaces, in (0, 1].
        texture: standard deviation of its texture, share of the reach.
        core: radius as share of the lesion's; 0 is none.
        core_step: signed change of the core against the lesion, share of the reach.
        rim: signed change of a rim round the core, share of the reach.
        mass: how far it pushes its surroundings, mm.
        wedge: half opening angle in degrees; 0 is none.
        foreign: another texture and no change of the mean.
        seed: of the fields.
        loss: how far the fluid around the brain advances into tissue, mm; 0 where none is lost. A
            lesion with a loss is a region, see :func:`aberra.synthesis.atrophy.shrink`.
        ventricles: how far the ventricles advance, as multiple of ``loss``.
        everywhere: the whole brain loses tissue, not a region around the centre.
        both: so does the region's counterpart on the other side.
        mask_file: mask whose lesion number ``mask_part`` gives the shape instead of ``stretch``,
            ``wobble`` and ``wedge``, turned, and mirrored for every second ``seed``; empty is none.

    Examples:
        >>> import numpy as np
        >>> from aberra.synthesis.contrast import draw_contrast
        >>> from aberra.synthesis.profiles import draw_lesions
        >>> rng = np.random.default_rng(0)
        >>> lesions = draw_lesions("ms", draw_contrast("flair", rng), rng)
        >>> lesions[0].profile, bool(lesions[0].step > 0)
        ('ms', True)
    """

    profile: str
    site: str
    place: float
    radius: float
    stretch: tuple[float, float, float]
    turn: tuple[float, float, float]
    wobble: float
    grain: float
    edge: float
    spreads: str
    step: float
    iso: bool
    opacity: float
    texture: float
    core: float
    core_step: float
    rim: float
    mass: float
    wedge: float
    foreign: bool
    seed: int
    loss: float = 0.0
    ventricles: float = 0.0
    everywhere: bool = False
    both: bool = False
    mask_file: str = ""
    mask_part: int = 0


def draw_lesions(
    name: str, contrast: Contrast, rng: np.random.Generator, masks: Sequence[str] = ()
) -> tuple[Lesion, ...]:
    """Draw the lesions of one scan; many where they are small.

    Args:
        name: of the profile.
        contrast: what the scan shows.
        rng: source of randomness.
        masks: files of real lesion masks. Of one of them, drawn for the scan, the lesions take
            their shapes and, within the profile's range, their sizes; site, intensities and number
            stay the profile's.

    Raises:
        ConfigError: unknown profile.
        InputError: a mask that cannot be read, or without a lesion.
    """
    expect_known("lesion profile", [name], profiles())
    profile = profiles()[name].seen_by(contrast.name)
    low, high = profile.count
    count = round(float(np.exp(rng.uniform(np.log(low), np.log(high + 0.5)))))
    usual = contrast.bright or int(rng.choice((-1, 1)))
    # lesions of one scan look alike
    step = float(rng.uniform(*profile.step))
    texture = float(rng.uniform(0, 0.12))
    largest = float(
        np.exp(rng.uniform(np.log(min(2 * profile.radius[0], profile.radius[1])), np.log(profile.radius[1])))
    )
    lesions = tuple(
        _one(profile, rng, usual=usual, step=step, texture=texture, largest=largest) for _ in range(count)
    )
    if not masks or profile.loss:
        return lesions
    return _with_shapes(lesions, profile, str(rng.choice(list(masks))), rng)


def _one(
    profile: Profile,
    rng: np.random.Generator,
    *,
    usual: int,
    step: float,
    texture: float,
    largest: float,
) -> Lesion:
    u = rng.uniform
    radius = float(np.exp(u(np.log(profile.radius[0]), np.log(largest))))
    if profile.count[1] <= 3:
        radius = float(np.exp(u(np.log(max(profile.radius[0], 0.6 * largest)), np.log(largest))))
    sign = usual * (-1 if u() < profile.against else 1)
    core = core_step = rim = 0.0
    if profile.core and u() < float(profile.core["share"]):  # type: ignore[arg-type]
        core = float(u(*profile.core["radius"]))  # type: ignore[misc]
        core_step = sign * float(u(*profile.core["step"]))  # type: ignore[misc]
        if u() < profile.rim:
            rim = float(u(-0.3, 0.6))
    names = list(profile.sites)
    weights = np.array([profile.sites[each] for each in names])
    three = [
        tuple(round(float(value), 3) for value in u(low, high, 3))
        for low, high in (profile.stretch, (0, 2 * np.pi))
    ]
    return Lesion(
        profile=profile.name,
        site=str(rng.choice(names, p=weights / weights.sum())),
        place=float(u()),
        radius=round(radius, 3),
        stretch=three[0],  # type: ignore[arg-type]
        turn=three[1],  # type: ignore[arg-type]
        wobble=round(float(u(*profile.wobble)), 3),
        grain=round(float(u(0.35, 1.0)), 3),
        edge=round(float(u(0.7, 2.5) + (u(0, 0.3) * radius if u() < 0.4 else 0)), 3),
        spreads=profile.spreads,
        step=round(sign * step * float(u(0.7, 1.3)), 4),
        iso=bool(u() < (max(profile.iso, FAINT) if usual < 0 else profile.iso)),
        opacity=round(float(u(0.7, 1)), 3),
        texture=round(texture, 4),
        core=round(core, 3),
        core_step=round(core_step, 4),
        rim=round(rim, 4),
        mass=round(radius * float(u(*profile.mass)), 3),
        wedge=round(float(u(20, 50)), 1) if u() < profile.wedge else 0.0,
        foreign=bool(u() < profile.foreign),
        seed=int(rng.integers(2**31)),
        **_loss(profile, rng),
    )


def _with_shapes(
    lesions: tuple[Lesion, ...], profile: Profile, path: str, rng: np.random.Generator
) -> tuple[Lesion, ...]:
    """The lesions in the shapes of a mask's, of their sizes where the profile has such; each shape
    once if there are enough.
    """
    shapes = real_shapes(path)
    if not shapes:
        raise InputError(f"{path}: no lesion in this mask; expected voxels above 0. Leave the file out")
    low, high = profile.radius
    large = [number for number, each in enumerate(shapes) if each.radius >= low] or range(len(shapes))
    found = []
    for lesion, number in zip(
        lesions, rng.choice(large, len(lesions), replace=len(lesions) > len(large)), strict=True
    ):
        radius = round(float(np.clip(shapes[number].radius, low, high)), 3)
        mass = round(lesion.mass * radius / lesion.radius, 3)
        found.append(
            replace(lesion, mask_file=path, mask_part=int(number), radius=radius, mass=mass, wedge=0.0)
        )
    return tuple(found)


def _loss(profile: Profile, rng: np.random.Generator) -> dict[str, Any]:
    """Of a disease that loses tissue; nothing is drawn of others."""
    if not profile.loss:
        return {}
    everywhere, both = (bool(rng.uniform() < profile.loss[name]) for name in ("everywhere", "both"))
    depth, ventricles, regional = (
        float(np.exp(rng.uniform(*np.log(profile.loss[name]))))
        for name in ("depth", "ventricles", "regional")
    )
    depth *= 1 if everywhere else regional
    return {
        "loss": round(depth, 3),
        "ventricles": round(ventricles, 3),
        "everywhere": everywhere,
        "both": both,
    }


def sites(
    labels: NDArray[np.uint8], spacing: float, names: Iterable[str] = SITES
) -> dict[str, NDArray[np.intp]]:
    """Flat indices of the voxels of sites on a grid (D, H, W), and of ``any``."""

    def among(*numbers: int) -> NDArray[np.bool]:
        return a.among(labels, numbers)

    def by(mask: NDArray[np.bool], width: float, share: float) -> NDArray[np.bool]:
        found: NDArray[np.bool] = blur(mask.astype(np.float32), width / spacing) > share
        return found

    white, cortex = partial(among, a.WHITE, a.CAPSULE), partial(among, a.CORTEX, a.LIMBIC)
    masks: dict[str, Callable[[], NDArray[np.bool]]] = {
        "white": white,
        "periventricular": lambda: white() & by(labels == a.VENTRICLE, 4.5, 0.04),
        "juxtacortical": lambda: white() & by(cortex(), 2.0, 0.12),
        "cortex": cortex,
        "deep": partial(among, a.THALAMUS, a.CAUDATE, a.PUTAMEN, a.PALLIDUM, a.CAPSULE, a.BASAL, a.HIPPOCAMPUS),
        "infratentorial": partial(among, a.CEREBELLAR_CORTEX, a.CEREBELLAR_WHITE, a.BRAINSTEM),
        "any": partial(among, *a.TISSUES),
    }  # fmt: skip
    return {name: np.flatnonzero(masks[name]()) for name in {*names, "any"}}


def centre(
    lesion: Lesion, where: Mapping[str, NDArray[np.intp]], shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The voxel at which a lesion lies; None where its site does not exist."""
    voxels = where[lesion.site] if len(where[lesion.site]) else where["any"]
    if not len(voxels):
        return None
    return tuple(int(each) for each in np.unravel_index(voxels[int(lesion.place * len(voxels))], shape))


def box_round(lesion: Lesion, at: Sequence[int], shape: Sequence[int], spacing: float) -> tuple[slice, ...]:
    """The part of a grid (D, H, W) that a lesion at a voxel can change."""
    size = 2.2 * max(lesion.stretch) * lesion.radius
    if lesion.mask_file:
        real = real_shapes(lesion.mask_file)[lesion.mask_part]
        size = real.reach * lesion.radius / real.radius + lesion.edge
    reach = int(np.ceil(size / spacing + 3))
    return tuple(slice(max(0, c - reach), min(n, c + reach + 1)) for c, n in zip(at, shape, strict=True))


def depth_in(
    lesion: Lesion, box: tuple[slice, ...], at: Sequence[int], spacing: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """How deep the voxels of a box lie in a lesion at a voxel, share of its radius: 1 at the centre
    of a ball, 0 at the border, negative outside.
    """
    radius = lesion.radius / spacing
    axes = [np.arange(s.start, s.stop, dtype=np.float32) - c for s, c in zip(box, at, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    turned = grid @ rotation(lesion.turn).astype(np.float32)
    if lesion.mask_file:
        points = np.moveaxis(turned, -1, 0) * np.float32(spacing)
        points[0] *= -1 if lesion.seed % 2 else 1
        real = real_shapes(lesion.mask_file)[lesion.mask_part]
        return -real.distance(points, lesion.radius) / np.float32(lesion.radius)
    distance = np.sqrt(((turned / np.array(lesion.stretch, dtype=np.float32)) ** 2).sum(axis=-1)) / max(
        radius, 0.5
    )
    wander = lesion.wobble * smooth(grid.shape[:3], max(1.5, lesion.grain * radius), rng)
    depth: NDArray[np.float32] = 1 + wander - distance
    if lesion.wedge:
        # a vessel's territory: a cone that opens from a point inside towards the surface
        tip = turned + np.array((1.2 * radius, 0, 0), dtype=np.float32)
        angle = np.degrees(
            np.arccos(np.clip(tip[..., 0] / np.maximum(np.linalg.norm(tip, axis=-1), 1e-3), -1, 1))
        )
        depth = np.minimum(depth, (lesion.wedge * (1 + 0.4 * wander) - angle) / 45)
    return depth


def paint(
    x: NDArray[np.float32],
    kinds: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    lesion: Lesion,
    *,
    at: tuple[int, ...],
    contrast: Contrast,
    spacing: float,
) -> None:
    """Paint a lesion into an image (D, H, W) and its label values into ``kinds``, in place."""
    box = box_round(lesion, at, x.shape, spacing)
    rng = np.random.default_rng(lesion.seed)
    here, part = labels[box], x[box]
    shape = here.shape
    depth = depth_in(lesion, box, at, spacing, rng)
    edge = max(lesion.edge / spacing, 0.6) / max(lesion.radius / spacing, 0.5)
    soft = np.clip(depth / edge + 0.5, 0, 1)
    allowed = (here > 0) & (here < a.SKULL)
    if lesion.spreads != "any":
        allowed &= ~np.isin(here, a.FLUIDS)
    if lesion.spreads == "white":
        soft = soft * np.where(np.isin(here, (a.CORTEX, a.LIMBIC)), 0.15, 1)
    soft = (soft * allowed).astype(np.float32)
    means = np.array(contrast.means, dtype=np.float32)
    tissue = means[here]
    size = contrast.reach
    if lesion.foreign:
        grain = smooth(shape, max(1.0, rng.uniform(1, 4) / spacing), rng)
        change = (0.5 * lesion.texture + 0.15) * size * grain
        x[box] = part + soft * change
        kinds[box][soft > 0.5] = TEXTURE
        return
    sign = np.sign(lesion.step)
    brain = means[[a.CORTEX, a.WHITE, a.BRAINSTEM]]
    level = float(means[labels[at]]) if lesion.iso else float(brain.max() if sign > 0 else brain.min())
    target = np.full(shape, level + lesion.step * size, dtype=np.float32)
    if lesion.core:
        inner = np.clip((depth - (1 - lesion.core)) / edge + 0.5, 0, 1)
        target += inner * lesion.core_step * size
        target += 4 * inner * (1 - inner) * lesion.rim * size
    target += lesion.texture * size * smooth(shape, 3.0 / spacing, rng)
    target = np.clip(target, 0.02, 1.6)
    blend = soft * lesion.opacity
    x[box] = part * (1 - blend) + blend * target
    change = lesion.opacity * (target - tissue) / size
    inside = soft > 0.5
    kind = kinds_of(change)
    # a small lesion that is all but invisible is none
    if inside.any() and np.abs(change[inside]).mean() > 0.05:
        kinds[box][inside] = kind[inside]


def kinds_of(change: NDArray[np.float32]) -> NDArray[np.int64]:
    """Label values of voxels whose intensity changed, share of the contrast's reach; any shape."""
    found: NDArray[np.int64] = np.where(change > CLEAR, BRIGHT, np.where(change < -CLEAR, DARK, TEXTURE))
    return found
