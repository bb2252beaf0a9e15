"""How different two images look to a network, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.capabilities import HasFeatures


def perceptual_distance(model: HasFeatures, x: Tensor, y: Tensor) -> Tensor:
    """Mean over the levels of ‖f̂(x) − f̂(y)‖², f̂ being features of length 1 at each place,
    enlarged to the image.

    After Zhang, Isola, Efros, Shechtman, Wang 2018 (LPIPS), with the model's own features.

    Args:
        model: whose :meth:`feature_maps` are asked.
        x: shape (B, C, S).
        y: same shape.

    Returns:
        Shape (B, 1, S), in [0, 4].

    Deviation: LPIPS takes an ImageNet network and weights learnt from human judgements; ours needs
    neither. The squared differences are summed over the channels, so that a level does not count
    less because it has more of them.
    """
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    total = torch.zeros_like(x[:, :1], dtype=torch.float32)
    # in float32: in bf16 the difference of like features is rounding
    with torch.autocast(x.device.type, enabled=False):
        pairs = list(zip(model.feature_maps(x.float()), model.feature_maps(y.float()), strict=True))
        for one, other in pairs:
            apart = (F.normalize(one, dim=1) - F.normalize(other, dim=1)).square().sum(dim=1, keepdim=True)
            total += F.interpolate(apart, x.shape[2:], mode=mode, align_corners=False)
    return total / len(pairs)
