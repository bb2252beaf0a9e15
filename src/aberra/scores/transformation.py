"""How unsure a model is of how a slice was turned and shifted, mixed with its residual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from aberra.capabilities import Reconstructs, TellsTransformations
from aberra.options import Positive, Share, configured
from aberra.scores import Scored

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

LEVEL = 0.95
"""Share of healthy slices whose residual, times α, is below 1."""

BOUNDS = (0.1, 0.9)
"""Of a λ that is found: neither part is lost where the other one does not vary."""


class Transformation:
    """``(1 − λ)·(1 − p) + λ·α·|x − x̂|``, p being the mean probability of the true label over all
    transformations; p is one number a slice, ``|x − x̂|`` a mean over channels at each voxel.

    Venkatakrishnan 2020 (M.Sc. thesis, TU München), eq. of the combined score, with the mean over
    transformations of Hendrycks et al. 2019 (arXiv 1906.12340). Its mean over a slice is the slice
    score with ‖·‖ as mean absolute error. λ = 0 asks the head alone, λ = 1 the residual alone.

    Args:
        over: ``all`` transformations, or ``identity``, the slice as it is.
        mix: λ; the thesis has 0.5. ``auto``: that at which both parts vary equally over slices of
            healthy validation cases (0.5 before they are seen), in [0.1, 0.9].
        scale: α, brings the residual to the scale of probabilities; the thesis gives no number.
            ``auto``: 1 over the 95 % quantile of the mean residual of healthy validation slices (1
            before they are seen).
        as_printed: p in place of 1 − p. A control: the printed formula adds what is high for healthy
            slices to what is high for others, so that the two cancel.

    Raises:
        ConfigError: a λ outside [0, 1], or an α that is not positive.

    Deviation: 1 − p instead of the printed p. The thesis does not say at which transformations it
    asks, nor which norm.

    Examples:
        >>> from aberra.scores.transformation import Transformation
        >>> round(float(Transformation(mix=0.5, scale=2.0).mixed(0.75, 0.1)), 3)
        0.225
    """

    name = "transformation"
    needs = (TellsTransformations, Reconstructs)

    @configured("score")
    def __init__(
        self,
        *,
        over: Literal["all", "identity"] = "all",
        mix: Share | Literal["auto"] = "auto",
        scale: Positive | Literal["auto"] = "auto",
        as_printed: bool = False,
    ) -> None:
        self.over = over
        self.found = {
            name: value for name, value in (("mix", mix), ("scale", scale)) if not isinstance(value, str)
        }
        self.mix = self.found.get("mix", 0.5)
        self.scale = self.found.get("scale", 1.0)
        self.as_printed = as_printed

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        answer = self._asked(model, x, mask, run)
        return Scored(self.mixed(answer[-2], answer[-1]).clamp(min=0), answer[: len(x)])

    def mixed(self, certainty: Any, residual: Any) -> Any:
        """The score of p and ``|x − x̂|``, numbers or tensors of one shape."""
        unsure = certainty if self.as_printed else 1 - certainty
        return (1 - self.mix) * unsure + self.mix * self.scale * residual

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Find α and λ on slices of healthy cases, where they are ``auto``."""
        if len(self.found) == 2:
            return {}
        slices = [self._slices(model, volume, run) for volume in volumes]
        certainty, residual = np.concatenate([*slices, np.zeros((2, 0))], axis=1)
        if not residual.size:
            return {"mix": self.mix, "scale": self.scale}
        scale = self.found.get("scale", 1 / max(float(np.quantile(residual, LEVEL)), 1e-6))
        spread, other = float(certainty.std()), float(scale * residual.std())
        mix = spread / (spread + other) if spread + other else 0.5
        found = {"mix": min(max(mix, BOUNDS[0]), BOUNDS[1]), "scale": scale}
        return {name: value for name, value in found.items() if name not in self.found}

    def _slices(self, model: Any, volume: Volume, run: Runner) -> NDArray[np.float64]:
        """Mean p and mean residual of each slice with foreground, (2, N)."""
        x, mask = (torch.from_numpy(np.ascontiguousarray(each)) for each in (volume.data, volume.judged))
        answer = self._asked(model, x, mask, run)[-2:] * mask
        size = mask.sum(dim=(1, 2))
        means = answer.double().sum(dim=(2, 3))[:, size > 0] / size[size > 0]
        return means.numpy()

    def _asked(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Tensor:
        """Reconstruction, p and ``|x − x̂|`` at each voxel, (C + 2, D, H, W)."""
        numbers = range(model.transformations() if self.over == "all" else 1)

        def answer(batch: Tensor) -> Tensor:
            restored = model.reconstruct(batch)
            residual = (batch - restored).abs().mean(dim=1, keepdim=True)
            certainty = torch.stack([model.certainty(batch, number) for number in numbers]).mean(dim=0)
            one = certainty.reshape(-1, *[1] * (batch.ndim - 1)).expand_as(residual)
            return torch.cat([restored, one, residual], dim=1)

        return run(answer, x, mask)
