"""Changes of scanner and protocol: same anatomy, other numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import expect_known
from aberra.foreground import nonzero

if TYPE_CHECKING:
    from aberra.volume import Volume

SHIFTS = ("contrast", "gain", "spacing", "scanner")


def shift(name: str, volume: Volume, *, severity: float = 0.5, seed: int = 0) -> Volume:
    """Apply a shift; parameters are drawn from ``seed``.

    ``contrast`` bends intensities by a monotone curve, ``gain`` multiplies them, ``spacing`` thins
    slices out along the axis nearest to S, ``scanner`` does contrast, gain and noise together.

    Args:
        name: one of :data:`SHIFTS`.
        volume: the scan.
        severity: 0 (none) to 1.
        seed: of the drawn parameters.

    Raises:
        ConfigError: unknown shift.
    """
    expect_known("shift", [name], SHIFTS)
    rng = np.random.default_rng([seed, 100 + SHIFTS.index(name)])
    sign = 1 if rng.random() < 0.5 else -1
    if name == "gain":
        return volume.with_(data=volume.data * np.float32(np.exp(sign * severity)))
    if name == "spacing":
        return _thinned(volume, 1 + 3 * severity)
    bent = _bent(volume, sign * 0.8 * severity)
    if name == "contrast":
        return bent
    from aberra.synthesis.artefacts import artefact

    return artefact(
        "noise", shift("gain", bent, severity=severity, seed=seed), severity=0.5 * severity, seed=seed
    )


def _bent(volume: Volume, log_gamma: float) -> Volume:
    """Raise a channel's intensities, scaled to their 99.5th percentile, to a power."""
    bent = []
    for channel in volume.data:
        inside = channel[nonzero(channel[None])]
        top = np.float32(np.percentile(np.abs(inside), 99.5)) if inside.size else np.float32(1)
        scaled = np.abs(channel) / max(top, np.float32(1e-6))
        bent.append(np.sign(channel) * top * scaled ** np.float32(np.exp(log_gamma)))
    return volume.with_(data=np.stack(bent).astype(np.float32))


def _thinned(volume: Volume, factor: float) -> Volume:
    """Coarser voxels along the axis nearest to S."""
    from nibabel.orientations import io_orientation

    from aberra.prepare.resample import Resample

    axis = int(np.flatnonzero(io_orientation(volume.affine)[:, 0] == 2)[0])
    spacing = [0.0, 0.0, 0.0]
    spacing[axis] = volume.spacing[axis] * factor
    return Resample(spacing=spacing)(volume)
