"""ANDi: where the model's next step differs from the step that leads back to the scan, over many
noise levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from aberra.capabilities import Denoises
from aberra.diffusion.samplers import GAUSSIAN
from aberra.errors import ConfigError
from aberra.options import Count, Step, configured
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner

SMALLEST = 1e-20
"""Of a squared difference, so that one zero does not make the geometric mean zero."""


class ANDi:
    """Geometric mean over t of ‖μ_θ(z_t) − μ_q(z_t, x)‖² at each pixel, z_t = √ᾱ_t·x + √(1 −
    ᾱ_t)·ε_t; mean over channels.

    Frotscher, Kapoor, Wolfers, Baumgartner 2024, "Unsupervised anomaly detection using aggregated
    normative diffusion": μ_q is the mean of q(z_{t−1} | z_t, x), μ_θ the same with the model's x̂₀
    in place of x. Each t is one call of the network with its own noise; there is no chain, so no
    reconstruction.

    Args:
        high: largest t; published 125 of 1000.
        low: smallest t; published 25.
        calls: how many t, evenly spread from ``high`` to ``low``; published: every t, --set
            score.calls=101.
        noise: ``gaussian`` (released configuration, whatever the model was trained with) or
            ``training`` (the model's own kind).

    Raises:
        ConfigError: unknown noise, or a range of t that is empty or, in use, beyond the model's
            last step.

    Deviation: the mean over channels is taken at each t; the released code aggregates each channel
    and takes the largest. x̂₀ is not clipped, since intensities have no fixed range here. The noise
    of t is the same for every slice.
    """

    name = "andi"
    needs = (Denoises,)

    @configured("score")
    def __init__(
        self,
        *,
        high: Step = 125,
        low: Step = 25,
        calls: Count = 25,
        noise: Literal["gaussian", "training"] = "gaussian",
    ) -> None:
        if low > high:
            raise ConfigError(f"score: low={low}, high={high}; expected 1 ≤ low ≤ high")
        spread = torch.linspace(high, low, min(calls, high - low + 1), dtype=torch.float64).round()
        self.times = [int(each) for each in spread]
        self.noise = noise

    def __call__(self, model: Denoises, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        steps = model.process().steps
        if self.times[0] > steps:
            raise ConfigError(f"score.high={self.times[0]}; the model's last step is {steps}")
        found = run(lambda batch: self.aggregate(model, batch), x, mask)
        return Scored(found[0])

    def aggregate(self, model: Denoises, x: Tensor) -> Tensor:
        """The map of a batch: (B, C, S) to (B, 1, S)."""
        process = model.process()
        draw = GAUSSIAN if self.noise == "gaussian" else model.noise
        total = torch.zeros_like(x[:, :1], dtype=torch.float32)
        for t in self.times:
            found = model.denoise(process.add_noise(x, draw(t, x), t), t)
            # the posterior's mean is linear in the image, so this is μ_θ − μ_q
            apart, _, _ = process.posterior(found.image - x, torch.zeros_like(x), t, t - 1)
            total += apart.float().square().mean(dim=1, keepdim=True).clamp(min=SMALLEST).log()
        return (total / len(self.times)).exp()
