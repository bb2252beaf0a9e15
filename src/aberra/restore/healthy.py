"""What restorations measure on healthy validation cases, to choose a setting that is ``auto``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

Auto = Literal["auto"]
AUTO: Auto = "auto"

SLICES = 16
"""Slices or windows that are looked at, at most."""


def healthy_slabs(volumes: Iterable[Volume], run: Runner) -> tuple[Tensor, Tensor] | None:
    """Slabs (C, D, H, W) of up to four healthy volumes around their fullest slice, one behind the
    other, with their mask.
    """
    data, masks = [], []
    each = max(1, SLICES // 4) if run.dims == 2 else run.window[0]
    for volume, _ in zip(volumes, range(4), strict=False):
        mask = np.ones(volume.shape, dtype=bool) if volume.mask is None else np.asarray(volume.mask)
        if not mask.any():
            continue
        middle = int(mask.sum(axis=(1, 2)).argmax())
        low = min(max(0, middle - each // 2), max(0, volume.shape[0] - each))
        data.append(torch.from_numpy(np.ascontiguousarray(volume.data[:, low : low + each])))
        masks.append(torch.from_numpy(np.ascontiguousarray(mask[low : low + each])))
    if not data or len({part.shape[2:] for part in data}) > 1:
        return (data[0], masks[0]) if data else None
    return torch.cat(data, dim=1), torch.cat(masks)


def healthy_quantile(values: Tensor, share: float) -> float:
    """Quantile of any number of values, above 0."""
    return max(float(np.quantile(values.numpy(), share)), 1e-6)
