"""How much many healthy versions of a scan differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from aberra.errors import ConfigError
from aberra.options import configured
from aberra.registry import build
from aberra.restore import Moments
from aberra.scores import Scored
from aberra.scores.residual import tuned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.restore import Restores
    from aberra.volume import Volume


class Spread:
    """Variance of healthy versions x̂ₙ, or its square root; mean over channels.

    Variance over the draws: Kendall & Gal 2017 as used by Baur et al. 2020; standard deviation:
    Zimmerer et al. 2019, "sampling variance".

    Args:
        restore: how x̂ₙ are found, as in :class:`aberra.scores.residual.Residual`; it must give two
            or more. By default 100 draws.
        of: ``variance`` (divisor N) or ``std``.

    Raises:
        ConfigError: unknown option, or a restoration that gives one healthy version.

    The reconstruction is the mean of x̂ₙ. Memory does not grow with N.
    """

    name = "spread"
    RESTORE: ClassVar[dict[str, Any]] = {"name": "draws"}

    @configured("score")
    def __init__(
        self, *, restore: dict[str, Any] | None = None, of: Literal["variance", "std"] = "std"
    ) -> None:
        self.options = restore or self.RESTORE
        self.restore = several(self.options)
        self.of = of
        self.needs = self.restore.needs

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        found = run(lambda batch: self._accumulate(model, batch), x, mask, grad=self.restore.grad)
        return Scored(found[-1], found[:-1])

    def _accumulate(self, model: Any, x: Tensor) -> Tensor:
        """Mean and spread of the versions, stacked: (B, C, S) to (B, C + 1, S)."""
        versions = Moments()
        for version in self.restore(model, x):
            versions.add(version.image)
        spread = versions.deviation if self.of == "std" else versions.variance
        return torch.cat([versions.mean, spread], dim=1)

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Settings that the restoration finds on healthy cases
        (:class:`aberra.capabilities.Tunes`).
        """
        return tuned(self.restore, self.options, model, volumes, run)


def several(options: dict[str, Any]) -> Restores:
    """Build a restoration that gives two or more healthy versions.

    Raises:
        ConfigError: it gives one.
    """
    restore: Restores = build("restore", options)
    if not restore.several:
        raise ConfigError(
            f"score.restore '{options['name']}' gives one healthy version, this score compares several; "
            "use draws, or partial-diffusion with average=false, with 2 draws or more"
        )
    return restore
