"""Restoration: move the image itself to where the model finds it likely; what had to move was anomalous (B33, B34, B54, Z21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aberra.errors import ConfigError, unknown
from aberra.scores import Scored
from aberra.scores.residual import SIGNS, signed
from aberra.scores.smoothing import checked_sigma, smoothed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.inference import Runner
    from aberra.volume import Volume

AUTO = "auto"
GRID = (0.0, 0.1, 0.2, 0.5, 1.0)
"""Values of λ that ``tune`` tries."""

HEALTHY_SLICES = 16
"""Slices or windows that ``tune`` restores for each λ, at most."""


class Restoration:
    """x̂ = argmin −ELBO(x̂) + λ·TV(x̂ − x), by gradient descent from x̂ = x; the map is ``|x − x̂|``, mean over channels.

    You, Tezcan, Chen, Konukoglu 2019 (MIDL, PMLR 102): the posterior of the healthy image, log p(x̂) bounded by the ELBO and
    p(x|x̂) ∝ exp(−λ·TV(x̂ − x)). Baur et al. 2021 (arXiv 2004.03271), rows "(restoration)", 500 iterations.

    The ELBO's ℓ1 term pulls every pixel with about the same force, so the published 500 steps of 10⁻³ are a path of length 0.5 that
    is walked with small steps and stopped early, not a minimisation. ``schedule = "decreasing"`` walks a path of the same length with
    fewer steps, long ones first and short ones last, which take the oscillation out that long ones leave.

    Args:
        schedule: ``decreasing`` (step k of n has size 2·length/n·(1 − (k + ½)/n)) or ``constant`` (length/n; published).
        steps: n; 50, published 500. A step is one forward and one backward pass.
        length: sum of the step sizes; published 0.5.
        tv: λ, or ``auto``: found on healthy validation cases, the one of 0, 0.1, 0.2, 0.5 and 1 with the least mean ``|x − x̂|``
            (You's rule, B54); 0.1 where there were none.
        kl_weight: weight of the KL term in the ELBO.
        mode: sign of the map, as in :class:`aberra.scores.residual.Residual`: ``absolute``, ``positive`` or ``negative``.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option or a number out of range.

    Deviation: TV is taken of the difference to the original image, as the paper writes; the study's public code takes it against
    the image's own reconstruction. The ELBO is taken at the posterior mean. Anisotropic TV. λ is chosen from five values, not twenty.
    """

    needs = ("HasElbo",)
    SCHEDULES = ("decreasing", "constant")

    def __init__(
        self,
        *,
        schedule: str = "decreasing",
        steps: int = 50,
        length: float = 0.5,
        tv: float | str = AUTO,
        kl_weight: float = 1.0,
        mode: str = "absolute",
        smooth: float = 0.0,
    ) -> None:
        if schedule not in self.SCHEDULES:
            raise unknown("score.schedule", schedule, self.SCHEDULES)
        if mode not in SIGNS:
            raise unknown("residual mode", mode, SIGNS)
        if isinstance(tv, str) and tv != AUTO:
            raise ConfigError(f"score.tv='{tv}'; expected a number or '{AUTO}'")
        self.auto = isinstance(tv, str)
        self.tv = 0.1 if isinstance(tv, str) else tv
        if steps < 1 or length <= 0 or self.tv < 0 or kl_weight < 0:
            raise ConfigError(
                f"score: steps={steps}, length={length}, tv={tv}, kl_weight={kl_weight}; "
                "expected 1 or more steps, a length above 0 and weights of 0 or more"
            )
        self.schedule = schedule
        self.steps = steps
        self.length = length
        self.kl_weight = kl_weight
        self.mode = mode
        self.smooth = checked_sigma(smooth)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        restored = run(lambda batch: self.restore(model, batch), x, mask, grad=True)
        values = signed(x - restored, self.mode).mean(dim=0)
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), restored * mask)

    def restore(self, model: Any, x: Tensor) -> Tensor:
        """Restore a batch (B, C, S). Needs autograd; memory does not grow with the number of steps."""
        restored = x.clone()
        for size in self.sizes():
            # with respect to the image alone: the model's parameters get no gradient
            restored = restored.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.objective(model, restored, x).sum(), restored)
            restored = restored.detach() - size * slope
        return restored

    def sizes(self) -> list[float]:
        """Size of every step; they sum to ``length``."""
        if self.schedule == "constant":
            return [self.length / self.steps] * self.steps
        rest = 1 - (torch.arange(self.steps, dtype=torch.float64) + 0.5) / self.steps
        return (2 * self.length / self.steps * rest).tolist()

    def objective(self, model: Any, restored: Tensor, x: Tensor) -> Tensor:
        """−ELBO(x̂) + λ·TV(x̂ − x) of each image: (B,)."""
        reconstruction, kl = model.elbo_terms(restored)
        value: Tensor = reconstruction + self.kl_weight * kl
        return value + self.tv * total_variation(restored - x) if self.tv else value

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, float]:
        """Choose λ on prepared healthy volumes where it is ``auto``; what is found becomes part of the method."""
        if not self.auto:
            return {}
        slices = _healthy(volumes, run)
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
    total = torch.zeros(len(x), device=x.device, dtype=x.dtype)
    for axis in range(2, x.ndim):
        total = total + x.diff(dim=axis).abs().flatten(1).sum(dim=1)
    return total


def _healthy(volumes: Iterable[Volume], run: Runner) -> tuple[Tensor, Tensor] | None:
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
