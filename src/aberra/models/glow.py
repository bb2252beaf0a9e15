"""Glow: an invertible network that turns healthy images into a standard normal."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aberra.nets.flows import MultiScale, log_normal
from aberra.options import Count, Dims, Edge, Levels, Width, configured

if TYPE_CHECKING:
    from aberra.batch import Batch


class Glow(nn.Module):
    """log p(x) = log N(f(x); 0, I) + log|det ∂f/∂x|, f being Glow's steps at several scales
    (:class:`aberra.nets.flows.MultiScale`).

    Kingma, Dhariwal 2018 (arXiv 1807.03039); as a detector of anomalies the "INN" of Zimmerer's
    thesis (Heidelberg 2022). L = −log₂ P(x) / N bits a voxel, where P(x) is the probability of x
    after rounding to ``bins`` steps a unit of intensity: uniform noise of a step's width is added
    in training (eq. 2 of the paper), and half a step in use.

    298,644 parameters at any size with one channel in 2-D.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        levels: how often the image is squeezed, half of its features leaving after each time but
            the last.
        steps: of actnorm, mixing and coupling, a level.
        width: filters of the couplings' networks.
        bins: steps a unit of normalised intensity.

    Raises:
        ConfigError: an edge that is not divisible by 2 as often as there are levels.

    Deviation: 3 levels of 8 steps of width 64, so that it trains on a CPU; the paper has 32 steps
    of width 512, the thesis says nothing of it. The mixing matrix is not decomposed, couplings have
    no actnorm inside, and their scale is exp(c·tanh(s / c)) instead of a sigmoid. What leaves early
    has a Gaussian prior whose spread is bounded, too.

    Examples:
        >>> import torch
        >>> from aberra.models.glow import Glow
        >>> model = Glow(channels=1, size=(16, 16), levels=2, steps=2, width=8).eval()
        >>> x = torch.rand(2, 1, 16, 16)
        >>> model.log_density(x).shape
        torch.Size([2])
        >>> z, _ = model.flow(x)
        >>> torch.allclose(model.flow.inverse(z), x, atol=1e-4)
        True
    """

    name = "glow"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        levels: Levels = 3,
        steps: Levels = 8,
        width: Width = 64,
        bins: Count = 256,
    ) -> None:
        super().__init__()
        self.bins = bins
        self.flow = MultiScale(
            channels=channels, dims=dims, size=size, levels=levels, steps=steps, width=width
        )

    def log_density(self, x: Tensor) -> Tensor:
        """Log P(x) in nats, (B, C, S) to (B,), differentiable."""
        return self._log_probability(x, 0.5)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Bits a voxel; the mask is not used."""
        x = batch.x
        noise = torch.rand(x.shape, generator=batch.generator, device=x.device, dtype=x.dtype)
        bits = -self._log_probability(x, noise) / (log(2) * prod(x.shape[1:]))
        return {"loss": bits.mean()}

    def _log_probability(self, x: Tensor, within: Tensor | float) -> Tensor:
        """Of x at a place in [0, 1) within its step."""
        with torch.autocast(x.device.type, enabled=False):  # log-determinants are sums over all voxels
            z, log_determinant = self.flow(x.float() + within / self.bins)
            found: Tensor = log_normal(z) + log_determinant - prod(x.shape[1:]) * log(self.bins)
        return found
