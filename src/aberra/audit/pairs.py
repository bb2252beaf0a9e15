"""Controlled pairs: the same anatomy as another scanner would show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import ConfigError, expect_known
from aberra.foreground import region
from aberra.synthesis.artefacts import artefact
from aberra.synthesis.shifts import shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

CONTROLLED = ("contrast", "bias", "resolution", "noise", "histogram", "flip")
"""Changes of :func:`shifted`."""

BLUR_MM = 3.0
"""σ of the ``resolution`` at severity 1."""

BEND = 0.28
"""Farthest that ``histogram`` moves an intensity at severity 1, as share of the range; as far as
``contrast`` does."""

KNOTS = 5
"""Inner landmarks of the monotone curve of ``histogram``."""


def shifted(name: str, volume: Volume, *, severity: float = 0.5, site: int = 0, case: int = 0) -> Volume:
    """The scan as another scanner would show it; grid, mask and truth stay, so that a lesion is the
    same with and without the shift.

    ``contrast`` bends intensities by a power and ``histogram`` by a monotone curve of five knots,
    the same for all cases of a site; ``bias`` is a smooth gain and ``noise`` is Gaussian, both
    another draw for each case; ``resolution`` blurs within the foreground, as if the scan had been
    stripped afterwards; ``flip`` turns the scan front to back under an unchanged header.

    Args:
        name: one of :data:`CONTROLLED`.
        volume: the scan.
        severity: 0 (none) to 1; ``flip`` has none.
        site: seed of what is the same in all cases of a site.
        case: seed of what is not.

    Raises:
        ConfigError: unknown name, or a severity outside [0, 1].

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.audit.pairs import shifted
        >>> scan = Volume(data=np.arange(64.0).reshape(1, 4, 4, 4), affine=np.eye(4))
        >>> bent = shifted("histogram", scan)
        >>> bool((np.diff(bent.data.ravel()) >= 0).all())  # order stays, values do not
        True
    """
    expect_known("controlled shift", [name], CONTROLLED)
    if not 0 <= severity <= 1:
        raise ConfigError(f"shift {name}: severity {severity}; expected a number in [0, 1]")
    if name == "contrast":
        return shift("contrast", volume, severity=severity, seed=site)
    if name in {"bias", "noise"}:
        return artefact(name, volume, severity=severity, seed=case)
    if name == "flip":
        return _flipped(volume)
    inside = region(volume)
    change = _curved if name == "histogram" else _blurred
    data = np.stack([change(channel, inside, volume, severity, site) for channel in volume.data])
    return volume.with_(data=np.where(inside, data, volume.data).astype(np.float32))


def _curved(
    channel: NDArray[np.float32], inside: NDArray[np.bool], volume: Volume, severity: float, site: int
) -> NDArray[np.float32]:
    """Intensities between 0 and their 99.5th percentile along a monotone curve; above, as far over."""
    del volume
    rng = np.random.default_rng([site, 200])
    top = max(float(np.percentile(channel[inside], 99.5)), 1e-6) if inside.any() else 1.0
    knots = np.linspace(0, 1, KNOTS + 2)
    steps = np.exp(rng.uniform(-1, 1, KNOTS + 1))
    bend = np.concatenate([[0.0], np.cumsum(steps / steps.sum())]) - knots
    # never so far that order is lost: a step stays at a tenth of its length at least
    reach = min(BEND * severity / np.abs(bend).max(), 0.9 / max(-np.diff(bend).min() * (KNOTS + 1), 1e-6))
    curve = knots + reach * bend
    bent = (
        top * np.interp(channel / top, knots, curve) + np.minimum(channel, 0) + np.maximum(channel - top, 0)
    )
    return np.asarray(bent, dtype=np.float32)


def _blurred(
    channel: NDArray[np.float32], inside: NDArray[np.bool], volume: Volume, severity: float, site: int
) -> NDArray[np.float32]:
    del site
    from scipy.ndimage import gaussian_filter

    sigma = [
        severity * BLUR_MM / step if length > 1 else 0.0
        for step, length in zip(volume.spacing, volume.shape, strict=True)
    ]
    weight = gaussian_filter(inside.astype(np.float32), sigma)
    blurred = gaussian_filter(np.where(inside, channel, 0).astype(np.float32), sigma)
    return np.asarray(blurred / np.maximum(weight, 1e-6), dtype=np.float32)


def _flipped(volume: Volume) -> Volume:
    """Front to back along the axis nearest to it; of an image, upside down."""
    from nibabel.orientations import io_orientation

    axis = 1 if volume.is_image else int(np.flatnonzero(io_orientation(volume.affine)[:, 0] == 1)[0])
    names = ("mask", "lesion", "kinds")
    turned = {
        name: np.flip(part, axis).copy() for name in names if (part := getattr(volume, name)) is not None
    }
    return volume.with_(data=np.flip(volume.data, axis + 1).copy(), **turned)
