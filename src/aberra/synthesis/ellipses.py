"""Ellipses on waves, one of them shrunk: signed truth for every pixel (Wolleb's synthetic set)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from aberra import __version__
from aberra.errors import ConfigError
from aberra.files import write_json
from aberra.io.image import SPL
from aberra.synthesis.folder import spread, write_files, write_folder, write_manifest
from aberra.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL = 256
"""All lengths below are pixels of an image of this size; other sizes sample the same picture."""

SMALLEST = 64
"""Below, the shortest wave (12.6 px of 256) has fewer than three pixels."""

APART = 120.0
"""Least distance between the two centres."""

SIGMA = 0.19 * FULL / 2
"""Width of the Gaussian whose gradient shrinks the first ellipse: 0.19 of half the image."""

PULL = 0.1 * FULL / 2
"""Largest displacement: 0.1 of half the image, 12.8 px."""

DARKEST = -0.8
"""Two troughs of the highest waves; with the contour's 1 it spans the range that is mapped to [0,
1]."""

LESION = 0.2
"""|truth| from which a pixel is lesion, in units of the [0, 1] image.

The average Otsu threshold of |truth| is 0.197 over 400 diseased images of 256 px, 0.208 of 128 px and
0.201 of 64 px.
"""


@dataclass(frozen=True, kw_only=True)
class Ring:
    """An ellipse's contour and the wave that spreads from its centre.

    Attributes:
        centre: (row, column), px.
        semi_axes: px.
        angle: of the first axis against the columns, radians.
        thickness: of the contour, whole px.
        height: of the wave, before the image is mapped to [0, 1].
        frequency: of the wave, radians a px.
    """

    centre: tuple[float, float]
    semi_axes: tuple[float, float]
    angle: float
    thickness: int
    height: float
    frequency: float

    def inside(self) -> bool:
        """Whether the contour lies in the frame."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        (row, column), (a, b) = self.centre, self.semi_axes
        margin = 0.5 * self.thickness
        half_width = np.hypot(a * cosine, b * sine) + margin
        half_height = np.hypot(a * sine, b * cosine) + margin
        return bool(
            half_height <= row <= FULL - 1 - half_height and half_width <= column <= FULL - 1 - half_width
        )


@dataclass(frozen=True, kw_only=True)
class EllipseParameters:
    """Everything that is drawn about a pair of images.

    Attributes:
        first: the smaller ellipse, which shrinks in the diseased image.
        second: the larger one, which stays.
    """

    first: Ring
    second: Ring


def draw_ellipses(seed: int, case: int) -> EllipseParameters:
    """Draw a pair; case ``i`` of a seed does not depend on the others.

    Semi-axes N(40, 1) and N(20, 1) of the first ellipse, N(70, 1) and N(35, 1) of the second;
    centres U(50, 200)², any angle; thickness N(5, 0.7), rounded; waves of height U(0.2, 0.4) and
    frequency U(0.2, 0.35) and U(0.35, 0.5). Redrawn until both ellipses lie in the frame and their
    centres at least 120 px apart.

    Source: Wolleb 2022, chapter 6.

    Deviation: the thesis' table draws the first wave's centre at random; as in the public code it
    is the first ellipse's. Deviation: the thesis drops intersecting ellipses; distance and frame
    are the public code's rules and imply that.
    """
    rng = np.random.default_rng([seed, case, 3])
    while True:
        first = _ring(rng, (40.0, 20.0), (0.2, 0.35))
        second = _ring(rng, (70.0, 35.0), (0.35, 0.5))
        apart = np.hypot(*np.subtract(first.centre, second.centre))
        # circles round the ellipses that do not touch: at 120 px all but certain
        reach = first.semi_axes[0] + second.semi_axes[0] + 0.5 * (first.thickness + second.thickness)
        if apart > max(APART, reach) and first.inside() and second.inside():
            return EllipseParameters(first=first, second=second)


def _ring(rng: np.random.Generator, axes: tuple[float, float], frequency: tuple[float, float]) -> Ring:
    row, column = rng.uniform(50, 200, 2).round(3).tolist()
    a, b = rng.normal(axes, 1.0).round(3).tolist()
    return Ring(
        centre=(row, column),
        semi_axes=(a, b),
        angle=round(float(rng.uniform(0, 2 * np.pi)), 4),
        thickness=max(1, round(float(rng.normal(5, 0.7)))),
        height=round(float(rng.uniform(0.2, 0.4)), 4),
        frequency=round(float(rng.uniform(*frequency)), 4),
    )


def render_ellipses(
    parameters: EllipseParameters, size: int = FULL
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Draw both images of a pair and their signed difference.

    The diseased image samples the healthy one, bilinearly, at places moved away from the first
    ellipse's centre c by ``12.8 px · g(x) / max|g|``, ``g = −∇ exp(−|x − c|² / 2σ²)``,
    ``σ = 24.3 px``: the first ellipse and the waves near it shrink.

    Args:
        parameters: from :func:`draw_ellipses`.
        size: edge of the images in px; the picture is the same at every size.

    Returns:
        Healthy image in [0, 1], diseased image in [0, 1] and truth = healthy − diseased in [−1, 1],
        each of shape (H, W).

    Raises:
        ConfigError: ``size`` below 64.

    Deviation: the thesis prints the displacement as +∇ without a scale, which does not shrink; sign
    and scale are the public code's. Deviation: intensities are mapped from [−0.8, 1] to [0, 1], the
    same in all images, because preparation divides by a percentile and clips at 0; the public code
    rescales to [−1, 1]. Deviation: healthy images of 256 px or more are blurred (3×3 Gaussian, σ =
    2 px) as in the public code; the thesis has no blur, and in smaller images it would wash the
    contour out.
    """
    if size < SMALLEST:
        raise ConfigError(
            f"ellipses: size {size}; expected {SMALLEST} or more, waves are too fine for fewer pixels. Use prepare.size to train smaller"
        )
    step = FULL / size
    points = ((np.indices((size, size)) + 0.5) * step - 0.5).astype(np.float64)
    image = np.zeros((size, size))
    for ring in (parameters.first, parameters.second):
        image += ring.height * np.sin(ring.frequency * np.hypot(*_from(points, ring)))
    for ring in (parameters.first, parameters.second):
        # a contour thinner than a pixel would be dotted
        image[_distance(points, ring) <= 0.5 * max(ring.thickness, step)] = 1.0
    image = (image - DARKEST) / (1 - DARKEST)
    if size >= FULL:
        image = gaussian_filter(image, 2.0, radius=1, mode="nearest")
    away = _from(points, parameters.first)
    u2 = (away**2).sum(axis=0) / SIGMA**2
    # r·exp(−r²/2σ²) is largest at r = σ, where it is σ·exp(−½)
    moved = PULL * away / SIGMA * np.exp(0.5 - 0.5 * u2)
    where = np.indices((size, size)) + moved / step
    healthy: NDArray[np.float32] = image.astype(np.float32)
    diseased: NDArray[np.float32] = map_coordinates(healthy, where, order=1, mode="nearest")
    return healthy, diseased, healthy - diseased


def write_ellipses(
    folder: Path | str,
    *,
    cases: int,
    diseased: float = 0.5,
    size: int = FULL,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Write a cohort of ellipse images and return its manifest.

    A case is ``<case>_image.nii.gz`` (float32, depth 1, 1 mm) and ``<case>.json``; a diseased one
    has ``<case>_lesion.nii.gz`` (``|truth| ≥ 0.2``) and ``<case>_truth.nii.gz`` (healthy −
    diseased, signed; a healthy one's would be zero), too. Of each pair one image enters, so the
    classes are unpaired. An interrupted call is completed by the same call.

    Args:
        folder: of the cohort.
        cases: how many images, each a patient's. The thesis has 2,000 a class to train, 200 each
            for validation and test.
        diseased: share of them, spread evenly.
        size: edge in px, 64 or more.
        seed: the same seed gives the same bytes.
        workers: processes.
        progress: show a progress bar.

    Raises:
        OutputError: the folder holds another cohort.
        ConfigError: a number out of range.

    Deviation: the thesis binarises truth at the average Otsu threshold of its own images (0.442 in
    the public code, of images rescaled to [−1, 1]); ours is one constant, the rounded average of
    this generator.
    """
    if cases < 1 or not 0 <= diseased <= 1:
        raise ConfigError(
            f"ellipses: cases={cases}, diseased={diseased}; expected 1 or more and a share in [0, 1]"
        )
    folder = Path(folder)
    settings = {
        "kind": "ellipses", "cases": cases, "diseased": diseased, "size": size, "seed": seed, "version": __version__,
    }  # fmt: skip
    render_ellipses(draw_ellipses(seed, 0), size)  # a bad size is an error before anything is written
    jobs = {
        name: partial(_write_case, folder, name, seed, index, size, ill=spread(index, cases, diseased))
        for index, name in enumerate(f"ellipses-{index:05d}" for index in range(cases))
    }
    records = write_folder(folder, settings, jobs, title="ellipses", workers=workers, progress=progress)
    return write_manifest(folder, records)


def _write_case(folder: Path, name: str, seed: int, index: int, size: int, *, ill: bool) -> None:
    """Write one member of a pair; its JSON comes last and marks it as done."""
    drawn = draw_ellipses(seed, index)
    healthy, changed, truth = render_ellipses(drawn, size)
    image = Volume(
        data=(changed if ill else healthy)[None, None],
        affine=SPL,
        lesion=(np.abs(truth) >= LESION)[None] if ill else None,
    )
    record: dict[str, Any] = {
        "case": name,
        "patient": name,
        "groups": {},
        "label": int(ill),
        "ellipses": asdict(drawn),
    }
    record["files"] = write_files(folder, name, image)
    if ill:
        record["files"]["truth"] = f"{name}_truth.nii.gz"
        image.with_(data=truth[None, None], channels=("truth",)).write(folder / record["files"]["truth"])
    write_json(folder / f"{name}.json", record)


def _from(points: NDArray[np.float64], ring: Ring) -> NDArray[np.float64]:
    """Offset (2, H, W) from a ring's centre."""
    found: NDArray[np.float64] = points - np.reshape(ring.centre, (2, 1, 1))
    return found


def _distance(points: NDArray[np.float64], ring: Ring) -> NDArray[np.float64]:
    """Distance to an ellipse in px, to first order: |q − 1| over the length of q's gradient, q = 1
    on the ellipse.
    """
    down, right = _from(points, ring)
    sine, cosine = np.sin(ring.angle), np.cos(ring.angle)
    a, b = ring.semi_axes
    u, v = (cosine * right + sine * down) / a, (cosine * down - sine * right) / b
    q = np.hypot(u, v)
    found: NDArray[np.float64] = np.abs(q - 1) * q / np.maximum(np.hypot(u / a, v / b), 1e-9)
    return np.where(q < 1e-3, b, found)
