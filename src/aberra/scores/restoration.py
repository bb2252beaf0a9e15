"""Restoration: move the image itself to where the model finds it likely; what had to move was anomalous (B33, B34, B54, Z21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from aberra.options import Count, NotNegative, Positive, Sigma, configured
from aberra.scores import Scored
from aberra.scores.residual import Sign, signed
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

Auto = Literal["auto"]
AUTO: Auto = "auto"
GRID = (0.0, 0.1, 0.2, 0.5, 1.0)
"""Values of λ that ``tune`` tries."""

HEALTHY_SLICES = 16
"""Slices or windows that ``tune`` restores for each λ, at most."""


DUAL_STEPS = 10
"""Of the proximal map; 30 change the map's correlation with the published 500 steps by less than 0.001."""

Descent = Literal["decreasing", "constant"]


class Restoration:
    """x̂ = argmin −ELBO(x̂) + λ·TV(x̂ − x), by gradient descent from x̂ = x; the map is ``|x − x̂|``, mean over channels.

    You, Tezcan, Chen, Konukoglu 2019 (MIDL, PMLR 102): the posterior of the healthy image, log p(x̂) bounded by the ELBO and
    p(x|x̂) ∝ exp(−λ·TV(x̂ − x)). Baur et al. 2021 (arXiv 2004.03271), rows "(restoration)", 500 iterations.

    The ELBO's ℓ1 term pulls every pixel with about the same force, so the published 500 steps of 10⁻³ are a path of length 0.5 that
    is walked with small steps and stopped early, not a minimisation. ``schedule = "decreasing"`` walks a path of the same length with
    fewer steps, long ones first and short ones last, which take the oscillation out that long ones leave. A long step along TV's
    subgradient would jump over its kinks and hold nothing, so it then acts by its proximal map (forward-backward splitting).

    Args:
        schedule: ``decreasing`` (step k of n has size 2·length/n·(1 − (k + ½)/n), proximal TV) or ``constant`` (length/n, subgradient
            of TV; published).
        steps: n; 50, published 500. A step is one forward and one backward pass.
        length: sum of the step sizes; published 0.5.
        tv: λ; structures of a radius below about 2λ pixels are held, so 0.3 lets all but single pixels move. ``auto``: You's rule
            (B54), the one of 0, 0.1, 0.2, 0.5 and 1 with the least mean ``|x − x̂|`` on healthy validation cases; 0.3 where there
            were none. With TV of the difference to the original a larger λ always moves less, so the rule takes the largest.
        kl_weight: weight of the KL term in the ELBO.
        mode: sign of the map, as in :class:`aberra.scores.residual.Residual`: ``absolute``, ``positive`` or ``negative``.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option or a number out of range.

    An ℓ1 term's gradient is made of signs, and rounding that differs with the batch flips some: maps agree between batch sizes to
    a few per cent of their maximum, not to the last digits.

    Deviation: TV is taken of the difference to the original image, as the paper writes; the study's public code takes it against
    the image's own reconstruction. The ELBO is taken at the posterior mean. Anisotropic TV. λ is fixed by default.
    """

    name = "restoration"
    needs = ("HasElbo",)
    unit = "intensity"

    SCHEDULES: tuple[Descent, ...] = get_args(Descent)

    @configured("score")
    def __init__(
        self,
        *,
        schedule: Descent = "decreasing",
        steps: Count = 50,
        length: Positive = 0.5,
        tv: NotNegative | Auto = 0.3,
        kl_weight: NotNegative = 1.0,
        mode: Sign = "absolute",
        smooth: Sigma = 0.0,
    ) -> None:
        self.auto = isinstance(tv, str)
        self.tv = 0.3 if isinstance(tv, str) else tv
        self.schedule = schedule
        self.steps = steps
        self.length = length
        self.kl_weight = kl_weight
        self.mode = mode
        self.smooth = smooth

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        restored = run(lambda batch: self.restore(model, batch), x, mask, grad=True)
        values = signed(x - restored, self.mode).mean(dim=0)
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), restored * mask)

    def restore(self, model: Any, x: Tensor) -> Tensor:
        """Restore a batch (B, C, S). Needs autograd; memory does not grow with the number of steps."""
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

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, float]:
        """Choose λ on prepared healthy volumes where it is ``auto``; what is found becomes part of the method."""
        if not self.auto:
            return {}
        slices = healthy_slabs(volumes, run)
        if slices is None:
            return {"tv": self.tv}
        x, mask = slices
        found = {}
        for tv in GRID:
            self.tv = tv
            restored = run(lambda batch: self.restore(model, batch), x, mask, grad=True)
            found[tv] = float((x - restored).abs()[:, mask].mean())
        self.tv = min(found, key=lambda tv: found[tv])
        return {"tv": self.tv}


def total_variation(x: Tensor) -> Tensor:
    """Anisotropic total variation Σ``|x_i+1 − x_i|`` over the spatial axes of (B, C, S), summed over channels: (B,)."""
    return torch.stack([step.abs().flatten(1).sum(dim=1) for step in _steps(x)]).sum(dim=0)


def shrink_variation(x: Tensor, weight: float, dual: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Proximal map of the total variation: argmin_u ½‖u − x‖² + weight·TV(u), shape (B, C, S).

    A few steps of the fast projected gradient on the dual problem (Beck & Teboulle 2009, IEEE TIP 18, 2419), from ``dual`` of a
    similar problem.

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


def healthy_slabs(volumes: Iterable[Volume], run: Runner) -> tuple[Tensor, Tensor] | None:
    """Slabs (C, D, H, W) of up to four healthy volumes around their fullest slice, one behind the other, with their mask."""
    data, masks = [], []
    each = max(1, HEALTHY_SLICES // 4) if run.dims == 2 else run.window[0]
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
