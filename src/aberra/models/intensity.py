"""The intensity itself as anomaly map (M0)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from aberra.options import configured


class Intensity(nn.Module):
    """Bright, dark or unusual voxels are anomalous: no learning.

    Meissen, Kaissis, Rueckert 2021 (arXiv 2109.06023). Equalising the histogram is the recipe's
    business.

    Args:
        polarity: ``bright``, ``dark`` or ``both`` (distance from the median inside the mask,
            channel by channel). For ``dark`` intensities are expected in [0, 1].

    Raises:
        ConfigError: unknown polarity.
    """

    name = "intensity"

    @configured("model")
    def __init__(self, *, polarity: Literal["bright", "dark", "both"] = "bright") -> None:
        super().__init__()
        self.polarity = polarity

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mean over channels: (C, D, H, W) to (D, H, W), zero outside the mask."""
        if self.polarity == "both":
            inside = mask.bool()
            middle = x[:, inside].median(dim=1).values if bool(inside.any()) else x.new_zeros(len(x))
            value = (x - middle.reshape(-1, 1, 1, 1)).abs().mean(dim=0)
        else:
            value = x.mean(dim=0) if self.polarity == "bright" else 1 - x.mean(dim=0)
        return value.clamp(min=0) * mask
