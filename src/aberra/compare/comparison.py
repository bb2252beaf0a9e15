"""One number a pixel for how much a scan and its healthy version differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from aberra.capabilities import HasFeatures
from aberra.compare.difference import Sign, signed
from aberra.compare.perceptual import perceptual_distance
from aberra.errors import ConfigError
from aberra.nets.ssim import ssim_map
from aberra.options import Positive, Share, configured

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["absolute", "positive", "negative", "ssim", "structural", "perceptual", "evidence"]

ALPHA = 0.84
"""Of Zhao et al. 2017."""


class Comparison:
    """``|x − x̂|``, one sign of it, or the loss of structure (1 − SSIM(x, x̂)) / 2; mean over
    channels.

    Baur et al. 2021 (arXiv 2004.03271): absolute on tumours, positive (hyper-intense) on MS. SSIM
    (Wang et al. 2004) as a residual after Bergmann et al. 2018 (arXiv 1807.02011); its mixture with
    the absolute error, ``α·(1 − SSIM)/2 + (1 − α)·|x − x̂|``, after Zhao et al. 2017 (α = 0.84).

    Args:
        mode: ``absolute``, ``positive`` (brighter than healthy), ``negative`` (darker), ``ssim``,
            ``structural`` (the mixture), ``perceptual`` (absolute difference
            times :func:`aberra.compare.perceptual.perceptual_distance`) or ``evidence``: what the
            restoration itself found suspicious on its way, and no difference (AutoDDPM, THOR).
        centre: subtract the median difference inside the mask, channel by channel, before anything
            else: a network that answers a foreign scanner with a healthy version that is brighter
            or darker as a whole has not found an anomaly.
        alpha: α, share of the structural term; only in ``structural``. By default 0.84.
        data_range: span of the intensities that SSIM's constants are relative to; never the scan's
            own. By default 1; only in ``ssim`` and ``structural``.
        weighted: multiply by the restoration's evidence (AutoDDPM, THOR).

    Raises:
        ConfigError: unknown mode, a number out of range, or an option that does nothing with the
            mode.

    Deviation: Zhao's structural term is a multi-scale SSIM, and its absolute error is weighted with
    a Gaussian; ours is of one scale and not weighted. SSIM is taken within the slice for 2-D
    models, within the window for 3-D models.

    Examples:
        >>> import torch
        >>> from aberra.compare.comparison import Comparison
        >>> brighter = Comparison(mode="positive")
        >>> scan, healthy = torch.tensor([[[[0.25, 1.0]]]]), torch.tensor([[[[0.5, 0.5]]]])
        >>> brighter(None, scan, healthy, torch.ones_like(scan)).tolist()
        [[[[0.0, 0.5]]]]
    """

    MODES: tuple[Mode, ...] = get_args(Mode)

    @configured("score.compare")
    def __init__(
        self,
        *,
        mode: Mode = "absolute",
        centre: bool = False,
        alpha: Share | None = None,
        data_range: Positive | None = None,
        weighted: bool = False,
    ) -> None:
        differing = tuple(each for each in self.MODES if each != "evidence")
        for name, value, modes in (
            ("alpha", alpha, ("structural",)),
            ("data_range", data_range, ("ssim", "structural")),
            ("centre", centre or None, differing),
            ("weighted", weighted or None, differing),
        ):
            if value is not None and mode not in modes:
                raise ConfigError(
                    f"score.compare.{name}: does nothing with mode '{mode}', only with {', '.join(modes)}; leave it out"
                )
        self.mode = mode
        self.centre = centre
        self.alpha = ALPHA if alpha is None else alpha
        self.data_range = 1.0 if data_range is None else data_range
        self.weighted = weighted
        self.needs: tuple[type, ...] = (HasFeatures,) if mode == "perceptual" else ()
        self.asks_evidence = weighted or mode == "evidence"
        self.unit = "intensity" if mode in get_args(Sign) and not weighted else ""

    def level(self, reference: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
        """What centring adds to the healthy version of a volume: (C, D, H, W) twice and (D, H, W)
        to (C,).
        """
        if not self.centre or not bool(mask.any()):
            return restored.new_zeros(len(restored))
        return (reference - restored)[:, mask].median(dim=1).values

    def __call__(self, model: Any, reference: Tensor, restored: Tensor, evidence: Tensor) -> Tensor:
        """Compare a batch with its healthy version.

        Args:
            model: whose features the perceptual distance asks.
            reference: shape (B, C, S).
            restored: same shape, centred.
            evidence: of the restoration, (B, 1, S).

        Returns:
            Shape (B, 1, S), non-negative.
        """
        if self.mode == "evidence":
            return evidence
        # in float32: in bf16 the difference of like images is rounding
        with torch.autocast(reference.device.type, enabled=False):
            x, y = reference.float(), restored.float()
            values = self._difference(x, y).mean(dim=1, keepdim=True)
            if self.mode == "perceptual":
                values = values * perceptual_distance(model, x, y)
        return values * evidence if self.weighted else values

    def _difference(self, x: Tensor, y: Tensor) -> Tensor:
        """Difference of each channel, (B, C, S)."""
        if self.mode not in ("ssim", "structural"):
            return signed(x - y, "absolute" if self.mode == "perceptual" else self.mode)
        lost = (1 - ssim_map(x, y, data_range=self.data_range)).clamp(min=0) / 2
        return lost if self.mode == "ssim" else self.alpha * lost + (1 - self.alpha) * (x - y).abs()
