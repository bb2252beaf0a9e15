"""Brain phantoms from the MNI152 tissue maps: random anatomy, contrast, texture, bias, noise and
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates, zoom

from aberra.errors import ConfigError, expect_known
from aberra.prepare.atlas import tissues
from aberra.prepare.grid import resample_to
from aberra.synthesis.fields import diffeomorphism, rotation, smooth_noise
from aberra.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CONTRASTS = {
    "flair": ((0.18, 0.04), (0.74, 0.04), (0.60, 0.04)),
    "t1": ((0.20, 0.04), (0.58, 0.04), (0.90, 0.04)),
    "t1ce": ((0.20, 0.04), (0.60, 0.04), (0.90, 0.04)),
    "t2": ((0.95, 0.05), (0.58, 0.04), (0.40, 0.04)),
    "random": None,
}
"""Mean and spread of each tissue's intensity relative to a scanner's full scale; ``random`` draws
any order. Contrast agent (``t1ce``) hardly changes healthy brain: the barrier keeps it out; vessels
are not drawn."""

FIELD_MM = 6.0
"""Grid on which deformations are computed: far finer than they vary."""

MARGIN_MM = 12.0
"""Room around the atlas brain for larger heads."""


@dataclass(frozen=True, kw_only=True)
class PhantomParameters:
    """Everything that is drawn about a phantom; :func:`render` adds nothing to it.

    Attributes:
        contrast: a name of :data:`CONTRASTS`.
        means: intensity of CSF, grey and white matter, share of full scale.
        rotation_deg: about x, y, z.
        scale: along x, y, z.
        shift_mm: along x, y, z.
        warp_mm: standard deviation of the deformation's velocity.
        folding: how strongly tissue borders are re-drawn (0 is the blurred group average).
        texture: standard deviation of the tissue texture, share of full scale.
        bias: strength of the bias field, log scale.
        noise: σ of the Rician noise, share of full scale.
        slice_blur_mm: full width of the blur along z.
        gain: intensity of full scale.
        age: years; ventricles grow with it.
        sex: ``F`` or ``M``; the head's scale depends on it.
        seed: of the fields.
    """

    contrast: str
    means: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    scale: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    warp_mm: float
    folding: float
    texture: float
    bias: float
    noise: float
    slice_blur_mm: float
    gain: float
    age: int
    sex: str
    seed: int


def draw_phantom(seed: int, case: int, contrast: str = "flair") -> PhantomParameters:
    """Draw a phantom; case ``i`` of a seed does not depend on the others.

    Raises:
        ConfigError: unknown contrast.
    """
    expect_known("contrast", [contrast], CONTRASTS)
    rng = np.random.default_rng([seed, case, 1])
    sex = "F" if rng.random() < 0.5 else "M"
    head = 0.97 if sex == "F" else 1.02

    def normal(spread: float, centre: float = 0.0) -> tuple[float, float, float]:
        values = rng.normal(centre, spread, 3).round(4)
        return float(values[0]), float(values[1]), float(values[2])

    return PhantomParameters(
        contrast=contrast,
        means=_means(contrast, rng),
        rotation_deg=normal(4.0),
        scale=normal(0.03, head),
        shift_mm=normal(3.0),
        warp_mm=round(float(rng.uniform(2, 5)), 3),
        folding=round(float(rng.uniform(0.3, 0.7)), 3),
        texture=round(float(rng.uniform(0.01, 0.03)), 4),
        **_acquisition(rng),
        age=int(rng.integers(20, 86)),
        sex=sex,
        seed=int(rng.integers(2**31)),
    )


def draw_channels(seed: int, case: int, contrast: str = "flair") -> tuple[PhantomParameters, ...]:
    """Draw one head in one or several contrasts.

    The first contrast is :func:`draw_phantom`'s. The others share its anatomy and have an
    acquisition of their own: tissue means, bias, noise, slice thickness and gain.

    Args:
        seed: of the cohort.
        case: number in it.
        contrast: names of :data:`CONTRASTS`, comma-separated, as in ``t1,t2,flair``.

    Raises:
        ConfigError: unknown contrast, or one given twice.
    """
    names = names_of(contrast)
    if "ct" in names:
        raise ConfigError(
            "contrast 'ct' needs label maps (--anatomy FOLDER) or lesions by disease (--profiles)"
        )
    expect_known("contrast", names, CONTRASTS)
    first = draw_phantom(seed, case, names[0])
    streams = [np.random.default_rng([seed, case, 1, index]) for index in range(1, len(names))]
    return (
        first,
        *(
            replace(first, contrast=name, means=_means(name, rng), **_acquisition(rng))
            for name, rng in zip(names[1:], streams, strict=True)
        ),
    )


def names_of(contrast: str) -> list[str]:
    """The contrasts in ``t1,t2,flair``.

    Raises:
        ConfigError: one is given twice.
    """
    names = [name.strip() for name in contrast.split(",")]
    if len(set(names)) < len(names):
        raise ConfigError(f"contrast '{contrast}': each may be given once, it names a channel")
    return names


def _acquisition(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "bias": round(float(rng.uniform(0.02, 0.15)), 4),
        "noise": round(float(rng.uniform(0.008, 0.03)), 4),
        "slice_blur_mm": round(float(rng.uniform(0, 3)), 3),
        "gain": round(float(rng.uniform(300, 1500)), 1),
    }


def _means(contrast: str, rng: np.random.Generator) -> tuple[float, float, float]:
    known = CONTRASTS[contrast]
    if known is not None:
        values = [float(np.clip(rng.normal(mean, spread), 0.05, 1.0)) for mean, spread in known]
    else:
        # any order, but never two tissues alike: that would be another anatomy, not
        # another contrast
        values = [0.0] * 3
        while min(abs(values[0] - values[1]), abs(values[1] - values[2]), abs(values[0] - values[2])) < 0.08:
            values = rng.uniform(0.1, 1.0, 3).tolist()
    csf, gm, wm = (round(value, 4) for value in values)
    return csf, gm, wm


def render(parameters: PhantomParameters | Sequence[PhantomParameters], spacing: float = 2.0) -> Volume:
    """Make the phantom; the same parameters give the same bytes.

    Args:
        parameters: from :func:`draw_phantom`, or from :func:`draw_channels`, of which the first
            gives the anatomy.
        spacing: isotropic voxel size in mm.

    Returns:
        A skull-stripped brain in RAS+ MNI space on a background of exact zeros, with its mask; one
        channel a contrast, on one grid, tissue and its texture shared, bias and noise not.
    """
    channels = (parameters,) if isinstance(parameters, PhantomParameters) else tuple(parameters)
    first = channels[0]
    rng = np.random.default_rng(first.seed)
    tissue, affine = _atlas(spacing)
    shape = tissue.shape[1:]
    where = _coordinates(first, shape, spacing, rng)
    soft = np.stack([map_coordinates(part, where, order=1, mode="constant") for part in tissue])
    mask = soft.sum(axis=0) > 0.5
    fractions = _refold(soft, first, spacing, rng)
    grains = [
        smooth_noise(shape, (spacing,) * 3, 3.0, rng) + smooth_noise(shape, (spacing,) * 3, 10.0, rng)
        for _ in fractions
    ]
    # the first channel goes on with the anatomy's stream, so that it does not depend on how
    # many follow
    streams = [rng, *(np.random.default_rng([first.seed, index]) for index in range(1, len(channels)))]
    data = []
    for each, stream in zip(channels, streams, strict=True):
        image = np.zeros(shape, dtype=np.float32)
        for mean, fraction, grain in zip(each.means, fractions, grains, strict=True):
            image += fraction * (mean + first.texture * grain.astype(np.float32) / np.sqrt(2))
        data.append(np.where(mask, _acquired(image, each, spacing, stream), 0).astype(np.float32))
    return Volume(
        data=np.stack(data),
        affine=affine,
        channels=tuple(channel_of(each.contrast) for each in channels),
        mask=mask,
        provenance={"kind": "volume", "format": "phantom", "dtype": "float32", "warnings": []},
    )


def _acquired(
    image: NDArray[np.float32], parameters: PhantomParameters, spacing: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """What the scanner makes of it: bias field, slice thickness, Rician noise, gain; never below
    0.1.
    """
    shape = image.shape
    bias = smooth_noise(shape, (spacing,) * 3, 70.0, rng)
    image *= np.exp(parameters.bias * np.clip(bias, -2.5, 2.5))
    if parameters.slice_blur_mm > spacing:
        image = gaussian_filter1d(image, parameters.slice_blur_mm / 2.355 / spacing, axis=2)
    real, imaginary = rng.normal(0, parameters.noise, (2, *shape)).astype(np.float32)
    image = np.sqrt((image + real) ** 2 + imaginary**2)  # Rician: magnitude of a complex signal
    found: NDArray[np.float32] = np.maximum(np.round(image * parameters.gain, 1), 0.1)
    return found


def channel_of(contrast: str) -> str:
    """Name of the channel: the sequence, or ``image`` for random contrast."""
    return "image" if contrast == "random" else contrast


@cache
def _atlas(spacing: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """CSF, grey and white matter of ICBM 2009a (nilearn's package), shape (3, D, H, W), cropped to
    the head.
    """
    maps, brain, source = tissues()
    hit = np.argwhere(brain)
    low, high = hit.min(axis=0) - MARGIN_MM, hit.max(axis=0) + MARGIN_MM
    corner = source @ [*low, 1]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = corner[:3]
    depth, height, width = (int(np.ceil(edge / spacing)) for edge in high - low)
    # nearest voxels of 1 mm maps alias on a coarse grid: average first
    sigma = np.sqrt(max(spacing, 1) ** 2 - 1) / 2.355
    blurred = gaussian_filter(maps, (0, sigma, sigma, sigma))
    return resample_to(blurred, source, affine, (depth, height, width)), affine


def _coordinates(
    parameters: PhantomParameters, shape: tuple[int, ...], spacing: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Where each voxel of the phantom looks in the atlas: affine, deformation, ventricles, shape
    (3, D, H, W).
    """
    coarse = [int(np.ceil(length * spacing / FIELD_MM)) + 1 for length in shape]
    warp = diffeomorphism(coarse, FIELD_MM, 30.0, parameters.warp_mm, rng)
    # linearly upsampled, corners aligned
    factors = [1.0, *(new / old for new, old in zip(shape, coarse, strict=True))]
    displacement = zoom(warp, factors, order=1, grid_mode=False) / spacing
    inverse = np.diag(1 / np.array(parameters.scale)) @ rotation(np.deg2rad(parameters.rotation_deg))
    centre = (np.array(shape) - 1) / 2
    points = np.indices(shape, dtype=np.float32).reshape(3, -1) - centre[:, None].astype(np.float32)
    moved = (
        inverse.astype(np.float32) @ points
        - np.array(parameters.shift_mm, dtype=np.float32)[:, None] / spacing
    )
    # ventricles widen with age: look closer to the centre than one is
    reach = np.sqrt((moved**2).sum(axis=0)) * spacing
    moved *= 1 - 0.004 * (parameters.age - 50) * np.exp(-((reach / 30) ** 2))
    where: NDArray[np.float32] = (moved + centre[:, None]).reshape(3, *shape).astype(
        np.float32
    ) + displacement
    return where


def _refold(
    soft: NDArray[np.float32], parameters: PhantomParameters, spacing: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Turn the blurred group average into one brain: random fields decide where each tissue wins,
    partial volume stays.
    """
    shape = soft.shape[1:]
    logits = np.log(np.maximum(soft, 1e-3))
    for tissue in range(3):
        fold = smooth_noise(shape, (spacing,) * 3, 5.0, rng) + 0.6 * smooth_noise(
            shape, (spacing,) * 3, 12.0, rng
        )
        logits[tissue] += parameters.folding * fold
    logits /= 0.4
    logits -= logits.max(axis=0)
    weights = np.exp(logits)
    weights /= weights.sum(axis=0)
    return weights.astype(np.float32)
