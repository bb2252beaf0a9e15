"""Restoration: move the image itself to where the model finds it likely; what had to move was
anomalous.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from aberra.capabilities import HasElbo
from aberra.options import Count, NotNegative, Positive, configured
from aberra.restore import Restored, Restores
from aberra.restore.healthy import Auto, healthy_slabs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

GRID = (0.0, 0.1, 0.2, 0.5, 1.0)
"""Values of λ that ``tune`` tries."""

DUAL_STEPS = 10
"""Of the proximal map; 30 change the map's correlation with the published 500 steps by less than
0.001."""

Descent = Literal["decreasing", "constant"]


class Restoration(Restores):
    """x̂ = argmin −ELBO(x̂) + λ·TV(x̂ − x), by gradient descent from x̂ = x.

    You, Tezcan, Chen, Konukoglu 2019 (MIDL, PMLR 102): the posterior of the healthy image, log
    p(x̂) bounded by the ELBO and p(x|x̂) ∝ exp(−λ·TV(x̂ − x)). Baur et al. 2021 (arXiv 2004.03271),
    rows "(restoration)", 500 iterations.

    The ELBO's ℓ1 term pulls every pixel with about the same force, so the published 500 steps of
    10⁻³ are a path of length 0.5 that is walked with small steps and stopped early, not a
    minimisation. ``schedule = "decreasing"`` walks a path of the same length with fewer steps, long
    ones first and short ones last, which take the oscillation out that long ones leave. A long step
    along TV's subgradient would jump over its kinks and hold nothing, so it then acts by its
    proximal map (forward-backward splitting).

    Args:
        schedule: ``decreasing`` (step k of n has size 2·length/n·(1 − (k + ½)/n), proximal TV) or
            ``constant`` (length/n, subgradient of TV; published).
        steps: n; 50, published 500. A step is one forward and one backward pass.
        length: sum of the step sizes; published 0.5.
        tv: λ; structures of a radius below about 2λ pixels are held, so 0.3 lets all but single
            pixels move. ``auto``: You's rule, the one of 0, 0.1, 0.2, 0.5 and 1 with the least mean
            ``|x − x̂|`` on healthy validation cases; 0.3 where there were none. With TV of the
            difference to the original a larger λ always moves less, so the rule takes the largest.
        kl_weight: weight of the KL term in the ELBO.

    Raises:
        ConfigError: unknown option or a number out of range.

    An ℓ1 term's gradient is made of signs, and rounding that differs with the batch flips some:
    maps agree between batch sizes to a few per cent of their maximum, not to the last digits.

    Deviation: TV is taken of the difference to the original image, as the paper writes; the study's
    public code takes it against the image's own reconstruction. The ELBO is taken at the posterior
    mean. Anisotropic TV. λ is fixed by default.
    """

    name = "restoration"
    needs = (HasElbo,)
    grad = True

    SCHEDULES: tuple[Descent, ...] = get_args(Descent)

    @configured("score.restore")
    def __init__(
        self,
        *,
        schedule: Descent = "decreasing",
        steps: Count = 50,
        length: Positive = 0.5,
        tv: NotNegative | Auto = 0.3,
        kl_weight: NotNegative = 1.0,
    ) -> None:
        self.auto = isinstance(tv, str)
        self.tv = 0.3 if isinstance(tv, str) else tv
        self.schedule = schedule
        self.steps = steps
        self.length = length
        self.kl_weight = kl_weight

    def __call__(self, model: HasElbo, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S). Needs autograd."""
        yield Restored(self.restore(model, x))

    def restore(self, model: Any, x: Tensor) -> Tensor:
        """Restore a batch (B, C, S).

        Needs autograd; memory does not grow with the number of steps.
        """
        change, dual = torch.zeros_like(x), _steps(torch.zeros_like(x))
        for size in self.sizes():
            # with respect to the image alone: the model's parameters get no gradient
            restored = (x + change).detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.negative_elbo(model, restored).sum(), restored)
            if self.tv and self.schedule == "constant":
                slope = slope + self.tv * _steps_transposed([step.sign() for step in _steps(change)])
            change = change - size * slope
            if self.tv and self.schedule == "decreasing":
                change, dual = shrink_variation(change, size * self.tv, dual)
        return x + change

    def sizes(self) -> list[float]:
        """Size of every step; they sum to ``length``."""
        if self.schedule == "constant":
            return [self.length / self.steps] * self.steps
        rest = 1 - (torch.arange(self.steps, dtype=torch.float64) + 0.5) / self.steps
        return (2 * self.length / self.steps * rest).tolist()

    def negative_elbo(self, model: Any, restored: Tensor) -> Tensor:
        """−ELBO(x̂) of each image, with the KL term's weight: (B,)."""
        reconstruction, kl = model.elbo_terms(restored)
        value: Tensor = reconstruction + self.kl_weight * kl
        return value

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Choose λ on prepared healthy volumes where it is ``auto``."""
        if not self.auto:
            return {}
        slabs = healthy_slabs(volumes, run)
        if slabs is None:
            return {"tv": self.tv}
        x, mask = slabs

        def moved(tv: float) -> float:
            trial = copy(self)
            trial.tv = tv
            restored = run(lambda batch: trial.restore(model, batch), x, mask, grad=True)
            return float((x - restored).abs()[:, mask].mean())

        return {"tv": min(GRID, key=moved)}


def total_variation(x: Tensor) -> Tensor:
    """Anisotropic total variation Σ``|x_i+1 − x_i|`` over the spatial axes of (B, C, S), summed
    over channels: (B,).
    """
    return torch.stack([step.abs().flatten(1).sum(dim=1) for step in _steps(x)]).sum(dim=0)


def shrink_variation(x: Tensor, weight: float, dual: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Proximal map of the total variation: argmin_u ½‖u − x‖² + weight·TV(u), shape (B, C, S).

    A few steps of the fast projected gradient on the dual problem (Beck & Teboulle 2009, IEEE TIP
    18, 2419), from ``dual`` of a similar problem.

    Returns:
        u, and its dual: one tensor a spatial axis, within ±weight.
    """
    rate = 1 / (4 * (x.ndim - 2))  # 1 / ‖DDᵀ‖
    dual = [each.clamp(-weight, weight) for each in dual]
    ahead, momentum = dual, 1.0
    for _ in range(DUAL_STEPS):
        primal = _steps(x - _steps_transposed(ahead))
        moved = [(old + rate * step).clamp(-weight, weight) for old, step in zip(ahead, primal, strict=True)]
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        push = (momentum - 1) / following
        ahead = [new + push * (new - old) for new, old in zip(moved, dual, strict=True)]
        dual, momentum = moved, following
    return x - _steps_transposed(dual), dual


def _steps(x: Tensor) -> list[Tensor]:
    """D x: differences of neighbours along each spatial axis."""
    return [x.diff(dim=axis) for axis in range(2, x.ndim)]


def _steps_transposed(steps: list[Tensor]) -> Tensor:
    """Dᵀ: differences back to the image's shape."""
    parts = []
    for axis, step in enumerate(steps, start=2):
        edge = torch.zeros_like(step.narrow(axis, 0, 1))
        parts.append(-step.diff(dim=axis, prepend=edge, append=edge))
    return torch.stack(parts).sum(dim=0)
