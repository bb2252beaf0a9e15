"""The intensity itself as anomaly map (M0)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from aberra.options import configured


class Intensity(nn.Module):
    """Bright (or dark) voxels are anomalous: no learning.

    Meissen, Kaissis, Rueckert 2021 (arXiv 2109.06023). Equalising the histogram is the recipe's business.

    Args:
        polarity: ``bright`` or ``dark``. For ``dark`` intensities are expected in [0, 1].

    Raises:
        ConfigError: unknown polarity.
    """

    @configured("model")
    def __init__(self, *, polarity: Literal["bright", "dark"] = "bright") -> None:
        super().__init__()
        self.polarity = polarity

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mean over channels: (C, D, H, W) to (D, H, W), zero outside the mask."""
        mean = x.mean(dim=0)
        value = mean if self.polarity == "bright" else 1 - mean
        return value.clamp(min=0) * mask
