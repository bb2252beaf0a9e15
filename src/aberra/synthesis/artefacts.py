"""Acquisition artefacts that are not lesions: a detector should not take them for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import ConfigError, expect_known

if TYPE_CHECKING:
    from aberra.volume import Volume

ARTEFACTS = ("motion", "ghosting", "spike", "bias", "noise", "blur")


def artefact(name: str, volume: Volume, *, severity: float = 0.5, seed: int = 0) -> Volume:
    """Apply an artefact through TorchIO's deterministic transforms; parameters are drawn here from
    ``seed``.

    The mask stays; voxels outside it stay zero if they were, because a stripped scan was stripped
    after acquisition.

    Args:
        name: one of :data:`ARTEFACTS`.
        volume: the scan.
        severity: 0 (none) to 1 (hardly readable).
        seed: of the drawn parameters.

    Raises:
        ConfigError: unknown artefact, severity outside [0, 1] or a motion artefact on an image.
    """
    expect_known("artefact", [name], ARTEFACTS)
    if not 0 <= severity <= 1:
        raise ConfigError(f"artefact {name}: severity {severity}; expected a number in [0, 1]")
    if severity == 0:
        return volume
    if volume.is_image and name == "motion":
        raise ConfigError("artefact motion needs a volume: a radiograph is taken in one shot")
    import torch
    import torchio as tio

    rng = np.random.default_rng([seed, ARTEFACTS.index(name)])
    outside = (volume.data == 0).all(axis=0)
    # a channel's gain is its own, so strength is relative to each
    tops = (
        np.ones(len(volume.data))
        if outside.all()
        else np.percentile(np.abs(volume.data[:, ~outside]), 99, axis=1)
    )
    scale = tops.astype(np.float32).reshape(-1, 1, 1, 1)
    image = tio.ScalarImage(
        tensor=torch.from_numpy(volume.data / np.where(scale > 0, scale, np.float32(1))), affine=volume.affine
    )
    moved: Any = _transform(name, severity, rng, volume)(image)
    data = moved.numpy().astype(np.float32) * scale
    data = np.where(outside, 0, data) if outside.mean() > 0.2 else data
    if volume.data.min() >= 0:
        data = np.maximum(data, 0)
    return volume.with_(data=data.astype(np.float32))


def _transform(name: str, severity: float, rng: np.random.Generator, volume: Volume) -> Any:
    """Draw the parameters of one artefact."""
    import torchio as tio

    if name == "motion":
        return tio.Motion(
            degrees=rng.uniform(-8, 8, (2, 3)) * severity,
            translation=rng.uniform(-8, 8, (2, 3)) * severity,
            times=np.sort(rng.uniform(0.2, 0.8, 2)),
            image_interpolation="linear",
        )
    if name == "ghosting":
        axes = [axis for axis, length in enumerate(volume.shape) if length > 1]
        return tio.Ghosting(
            num_ghosts=int(rng.integers(3, 8)),
            axis=int(rng.choice(axes)),
            intensity=0.8 * severity,
            restore=0.02,
        )
    if name == "spike":
        return tio.Spike(spikes_positions=rng.uniform(0.3, 0.7, (1, 3)), intensity=0.6 * severity)
    if name == "bias":
        order = 3
        count = sum(
            1 for x in range(order + 1) for y in range(order + 1 - x) for _ in range(order + 1 - x - y)
        )
        return tio.BiasField(coefficients=(rng.uniform(-0.6, 0.6, count) * severity).tolist(), order=order)
    if name == "noise":
        return tio.Noise(mean=0.0, std=0.15 * severity, seed=int(rng.integers(2**31)))
    return tio.Blur(std=tuple(float(width) for width in rng.uniform(1, 3, 3) * severity))
