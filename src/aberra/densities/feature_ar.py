"""An autoregressive network on the feature map."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log, pi
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aberra.densities.map_density import MapDensity, Maps
from aberra.errors import TrainingError
from aberra.nets.causal import CausalConv
from aberra.nets.unified import conv
from aberra.options import Count, Edge, Levels, Positive, Width, configured

if TYPE_CHECKING:
    from collections.abc import Mapping

BATCH = 16
CLIP = 5.0
"""Greatest gradient norm."""
SHARE = 0.1
"""λ."""
LOG_VARIANCE = (-8.0, 4.0)
"""Range of log σ², the variance of a feature being 1."""


class FeatureAR(MapDensity):
    """The likelihood of each location's features given those of the locations before it, row by
    row: p(z) = ∏ᵢ N(zᵢ; μᵢ, diag σᵢ²), μᵢ and σᵢ being functions of z₁, …, zᵢ₋₁.

    After PixelCNN (van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv 1601.06759), on features
    instead of pixels and with Gaussians instead of classes. The network is one of masked
    convolutions (:class:`aberra.nets.causal.CausalConv`): one that does not see its own location,
    then residual blocks of ReLU, masked convolution, ReLU, convolution 1. A dilation makes it look
    past its neighbours, which have seen most of the same pixels and say little that is new.

    μ learns by the squared error, σ by the likelihood with μ standing still:

        L = (z − μ)² + λ·((z − μ)² / σ² + log σ²),   λ = 0.1,

    means over features and locations, with Adam and a rate that falls to 0 along a cosine. The
    epoch under which healthy validation maps are likeliest is kept.

    The energy is √Σ((z − μ) / σ)²: how far the features are from those that are foretold, measured
    by how well they can be foretold there. −log p itself is high wherever σ is, at every edge.

    463,680 parameters for 96 features in two dimensions, masked ones among them, and 2F + 1
    numbers.

    Args:
        features: F.
        size: S'.
        width: filters of the hidden layers.
        blocks: of residual layers.
        dilation: locations from one to the next that a convolution sees.
        epochs: passes over the maps.
        learning_rate: of Adam, at first.

    Raises:
        TrainingError: the likelihood is not finite.

    Deviation: convolutions of edge 3 have PixelCNN's blind spot, which no stack of them removes.

    Examples:
        >>> import torch
        >>> from aberra.densities.feature_ar import FeatureAR
        >>> from aberra.densities.map_density import Maps
        >>> _ = torch.manual_seed(0)
        >>> maps = Maps(torch.randn(40, 2, 4, 4), lambda z: z)
        >>> density = FeatureAR(features=2, size=(4, 4), width=8, blocks=1, dilation=1, epochs=2)
        >>> sorted(density.fit(maps, maps, seed=0))
        ['epoch', 'error', 'validation']
        >>> density.energy(maps[:3]).shape
        torch.Size([3, 4, 4])
    """

    name = "feature-ar"

    @configured("model.density")
    def __init__(
        self,
        *,
        features: Width,
        size: Sequence[Edge],
        width: Width = 128,
        blocks: Levels = 2,
        dilation: Levels = 4,
        epochs: Count = 40,
        learning_rate: Positive = 1e-3,
    ) -> None:
        super().__init__(features, size)
        self.epochs = epochs
        self.learning_rate = learning_rate
        dims = len(self.size)
        self.net = nn.Sequential(
            CausalConv(features, width, dims=dims, dilation=dilation, sees_itself=False),
            *(Block(width, dims=dims, dilation=dilation) for _ in range(blocks)),
            nn.ReLU(),
            conv(dims)(width, 2 * features, 1),
        )

    def foretold(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of standardised maps, (B, F, S') to (B, F, S') twice."""
        mean, log_variance = self.net(z).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def standard_log_density(self, z: Tensor) -> Tensor:
        """Log p of each location of standardised maps given those before it, in nats, (B, F, S') to
        (B, S').
        """
        mean, log_variance = self.foretold(z)
        return -0.5 * ((z - mean) ** 2 / log_variance.exp() + log_variance + log(2 * pi)).sum(dim=1)

    def standard_energy(self, z: Tensor) -> Tensor:
        """Distance of standardised maps, (B, F, S') to (B, S')."""
        mean, log_variance = self.foretold(z)
        return ((z - mean) ** 2 / log_variance.exp()).sum(dim=1).sqrt()

    def fit_standard(self, maps: Maps, validation: Maps, seed: int) -> Mapping[str, Any]:
        """Learn from standardised maps; return the epoch that was kept and its mean squared
        error, 1 being that of the mean.
        """
        generator = torch.Generator().manual_seed(seed)
        parameters = list(self.net.requires_grad_(requires_grad=True).parameters())
        adam = torch.optim.Adam(parameters, self.learning_rate)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.epochs)
        best, kept, chosen = -inf, {}, {}
        for epoch in range(self.epochs):
            for rows in torch.split(torch.randperm(len(maps), generator=generator), BATCH):
                z = maps[rows]
                with torch.enable_grad():
                    mean, log_variance = self.foretold(z)
                    error = (z - mean) ** 2
                    unlikely = error.detach() / log_variance.exp() + log_variance
                    loss = (error + SHARE * unlikely).mean()
                    adam.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(parameters, CLIP)
                adam.step()
            rates.step()
            likelihood, squared = self._judged(validation)
            if likelihood > best:
                best, chosen = likelihood, {"epoch": epoch + 1, "error": round(squared, 4)}
                kept = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        self.net.requires_grad_(requires_grad=False)
        if not isfinite(best):
            raise TrainingError("feature-ar: the likelihood of the validation maps is not finite")
        self.net.load_state_dict(kept)
        return chosen

    def _judged(self, maps: Maps) -> tuple[float, float]:
        """Mean log p of a location and mean squared error of a feature."""
        likelihood = squared = 0.0
        for z in maps.parts():
            share = len(z) / len(maps)
            likelihood += share * float(self.standard_log_density(z).mean(dtype=torch.float64))
            squared += share * float(((z - self.foretold(z)[0]) ** 2).mean(dtype=torch.float64))
        return likelihood, squared


class Block(nn.Module):
    """ReLU, masked convolution, ReLU, convolution 1, added to what came in: (B, F, S') to (B, F,
    S').
    """

    def __init__(self, width: int, *, dims: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            CausalConv(width, width, dims=dims, dilation=dilation, sees_itself=True),
            nn.ReLU(),
            conv(dims)(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, F, S') to (B, F, S')."""
        out: Tensor = x + self.body(x)
        return out
