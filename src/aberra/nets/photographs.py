"""Scans as the photographs that networks of others were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of the colours of ImageNet's photographs, whose values lie in [0, 1]."""


def as_photographs(x: Tensor, size: Sequence[int]) -> Tensor:
    """Each channel as a grey photograph: (B, C, S) to (B·C, 3, ``size``), the channels of an image
    one behind the other.

    Intensities are taken as they are prepared, 0 for black and 1 for white (``percentile``), and
    enlarged linearly.
    """
    grey = x.flatten(0, 1)[:, None]
    if tuple(size) != tuple(x.shape[2:]):
        grey = F.interpolate(grey, tuple(size), mode="bilinear", align_corners=False, antialias=True)
    mean, std = (grey.new_tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    return (grey - mean) / std
