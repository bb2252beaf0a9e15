"""How unusual several statistics of a slice are, beside those of healthy ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aberra.errors import ConfigError
from aberra.options import configured
from aberra.restore.healthy import AUTO, Auto
from aberra.scores import Scored
from aberra.scores.term import of_slices, slices_of
from aberra.scores.terms import Statistic, needs_of, statistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

KEPT = 256
"""Values of a statistic that are kept: of more, as many evenly spaced quantiles."""


class DoSE:
    """``−Σⱼ log KDEⱼ(sⱼ(x))``, s a slice's statistics; constant in each slice, as of ``term``.

    Morningstar, Ham, Gallagher, Lakshminarayanan, Alemi, Dillon 2021, *Density of States Estimation
    for Out of Distribution Detection* (arXiv 2006.09273), eq. 4, with a Gaussian kernel density of
    each statistic on healthy validation slices, as in Heer 2021, *The Out-of-Distribution Blindspot
    of Unsupervised Lesion Detection using VAEs* (ETH Zurich). A statistic that is too low is as
    unusual as one that is too high, so that the trap of ``kl`` is none here.

    Args:
        of: statistics of ``term``; Heer's two sets are all four of the default, and
            ``["l1", "kl"]``.
        healthy: statistic to its values on healthy slices. ``auto``: found on healthy validation
            cases.

    Raises:
        ConfigError: unknown or no statistic, one twice, or ``healthy`` of others.

    Each density is taken relative to its kernel's peak, which changes no order and makes the map
    not negative. The bandwidth is Scott's, σ·n^(−1/5).

    Deviation: logarithms are summed, as in the paper; the thesis prints the sum of the densities.
    Densities are of held-out slices, not of training slices, which a model knows too well.

    Examples:
        >>> from aberra.scores.dose import DoSE
        >>> score = DoSE(of=["l1"], healthy={"l1": [0.9, 1.0, 1.1]})
        >>> usual, low, high = score.unusual([[1.0], [0.0], [2.0]])
        >>> bool(usual < low), bool(abs(low - high) < 1e-6)
        (True, True)
    """

    name = "dose"

    @configured("score")
    def __init__(
        self,
        *,
        of: Sequence[Statistic] = ("l1", "kl", "elbo", "entropy"),
        healthy: dict[str, list[float]] | Auto = AUTO,
    ) -> None:
        if not of or len({*of}) < len(of):
            raise ConfigError(f"score.of={list(of)}: expected one statistic or more, each once")
        self.of = list(of)
        self.healthy = {} if isinstance(healthy, str) else healthy
        if self.healthy and ({*self.healthy} != {*of} or min(map(len, self.healthy.values())) < 2):
            raise ConfigError(
                f"score.healthy: has values of {', '.join(self.healthy)}; expected two or more of each of {', '.join(of)}"
            )
        self.needs = tuple(dict.fromkeys(need for each in of for need in needs_of(each)))

    @property
    def ready(self) -> bool:
        """Whether healthy values are known."""
        return bool(self.healthy)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        if not self.healthy:
            return Scored(x.new_zeros(mask.shape))

        def values(batch: Tensor, inside: Tensor) -> Tensor:
            found = self.unusual(statistics(model, batch, inside, self.of).double().cpu().numpy())
            return torch.from_numpy(found).to(batch)

        return Scored(of_slices(values, x, mask, run))

    def unusual(self, found: Any) -> NDArray[np.float64]:
        """``−Σⱼ log KDEⱼ``, relative to the kernels' peaks: statistics (B, J) to (B,), ≥ 0."""
        from scipy.special import logsumexp

        total = np.zeros(len(found))
        for values, name in zip(np.asarray(found, dtype=np.float64).T, self.of, strict=True):
            known = np.asarray(self.healthy[name])
            width = max(known.std() * len(known) ** -0.2, 1e-6 * np.abs(known).max(), 1e-12)
            distance = (values[:, None] - known) / width
            total += np.log(len(known)) - logsumexp(-0.5 * distance**2, axis=1)
        return np.maximum(total, 0)

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Collect the statistics of prepared healthy volumes where they are ``auto``."""
        if self.healthy:
            return {}
        found = slices_of(lambda batch, inside: statistics(model, batch, inside, self.of), volumes, run)
        if len(found) < 2:
            return {}
        if len(found) > KEPT:
            found = np.quantile(found, (np.arange(KEPT) + 0.5) / KEPT, axis=0)
        return {
            "healthy": {name: sorted(values.tolist()) for name, values in zip(self.of, found.T, strict=True)}
        }
