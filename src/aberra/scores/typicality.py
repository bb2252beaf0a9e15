"""How far a slice's likelihood is from that of healthy ones, above or below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.options import configured
from aberra.restore.healthy import AUTO, Auto
from aberra.scores import Scored
from aberra.scores.term import of_slices, slices_of
from aberra.scores.terms import Statistic, needs_of, statistic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume


class Typicality:
    """``|s(x) − E[s]|``, E over healthy validation slices; constant in each slice, as of ``term``.

    Nalisnick, Matsukawa, Teh, Lakshminarayanan 2019, *Detecting Out-of-Distribution Inputs to Deep
    Generative Models Using Typicality* (arXiv 1906.02994), eq. 4 with s = −log p, whose mean is the
    model's entropy: what is *likelier* than what was learnt is not typical, either.

    Args:
        of: s, one of the statistics of ``term``; −log p is ``elbo`` (its bound) or ``nll``.
        together: s is averaged over the slices of a scan before it is compared, the paper's test of
            M samples at once; else M = 1.
        expected: E[s]; ``auto``: the mean over the slices of healthy validation cases.

    Raises:
        ConfigError: unknown option.

    Deviation: E is taken over held-out slices; the paper takes training images.
    """

    name = "typicality"

    @configured("score")
    def __init__(
        self, *, of: Statistic = "elbo", together: bool = False, expected: float | Auto = AUTO
    ) -> None:
        self.of = of
        self.together = together
        self.expected = None if isinstance(expected, str) else expected
        self.needs = needs_of(of)

    @property
    def ready(self) -> bool:
        """Whether E is known."""
        return self.expected is not None

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        if self.expected is None:
            return Scored(x.new_zeros(mask.shape))
        found = of_slices(lambda batch, inside: statistic(model, batch, inside, self.of), x, mask, run)
        if self.together:
            levels = [part[inner].mean() for part, inner in zip(found, mask, strict=True) if inner.any()]
            found = found.new_full(found.shape, float(sum(levels)) / max(len(levels), 1))
        return Scored((found - self.expected).abs())

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Take E from prepared healthy volumes where it is ``auto``."""
        if self.expected is not None:
            return {}
        found = slices_of(lambda batch, inside: statistic(model, batch, inside, self.of), volumes, run)
        return {"expected": float(found.mean())} if len(found) else {}
