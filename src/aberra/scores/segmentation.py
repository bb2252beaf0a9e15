"""Lesion probability and how sure the model is of it."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any, Literal

import torch

from aberra.capabilities import FillsLesions, PredictsVariance, Segments, SegmentsInSteps, TellsKinds
from aberra.diffusion.samplers import Sampler
from aberra.errors import ConfigError
from aberra.options import Count, Step, configured
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


SURE = 1e-5
"""Least probability, and least distance from 1, that evidence is added to."""


class Segmentation:
    """The mean of N lesion masks, ``p = (1/N) Σₙ pₙ``; the map is a probability and has the
    threshold ``fixed-0.5``.

    Wolleb et al. 2022 (MIDL, arXiv 2112.03145) of masks that diffusion draws, Kendall,
    Badrinarayanan, Cipolla 2015 (arXiv 1511.02680) of masks with dropout left on. An empty mask is
    a valid answer. Of a model that tells K kinds of lesion apart, p is the probability of any
    lesion, the sum of the kinds' means, and the variance that of the sum.

    Args:
        draws: N.
        uncertainty: ``variance`` over the draws, divisor N; ``entropy`` of p in bits, −p·log₂ p −
            (1 − p)·log₂(1 − p), with K kinds that of the K + 1 classes; needs one draw only; or
            ``aleatoric``, the variance of the logit that the model itself predicts.
        probability: the map is a lesion's probability and has the threshold ``fixed-0.5``; off for
            models that learnt something else in [0, 1], as the weight of what was planted
            (``model.label``).
        intensity: weight w of the intensity baseline: the map is ``σ(logit p + w · x)``, x the
            prepared intensity, mean over channels, so that p counts as evidence beside brightness
            (w > 0) or darkness (w < 0). It needs intensities whose 0 is the usual tissue, as
            ``interdecile`` makes them. 0, the default, leaves p as it is.
        steps: of a model that draws masks out of noise: calls of the network a mask, evenly spread
            over T, all T by default.
        sampler: of such a model: ``ddpm`` (default), ``ddim`` or ``dpm-solver``.

    Raises:
        ConfigError: unknown uncertainty, no draw, or one draw and its variance.

    What the model puts in the lesions' place is returned as reconstruction, where it does. Memory
    does not grow with N. Deviation: whether the divisor of the variance is N or N − 1 is not
    published.
    """

    name = "segmentation"
    needs: tuple[type, ...] = (Segments,)

    @configured("score")
    def __init__(
        self,
        *,
        draws: Count = 5,
        uncertainty: Literal["variance", "entropy", "aleatoric"] = "variance",
        intensity: float = 0.0,
        probability: bool = True,
        steps: Step | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        fewest = 2 if uncertainty == "variance" else 1
        if draws < fewest:
            raise ConfigError(
                f"score.draws={draws}; expected {fewest} or more with uncertainty='{uncertainty}'"
            )
        self.draws = draws
        self.uncertainty = uncertainty
        self.intensity = intensity
        self.probability = probability and not intensity
        given = {"steps": steps, "sampler": sampler}
        self.sampling = {key: value for key, value in given.items() if value is not None}
        self.once = not self.sampling
        self.needs = (SegmentsInSteps if self.sampling else Segments,)
        if uncertainty == "aleatoric":
            self.needs += (PredictsVariance,)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        kinds = model.kinds if isinstance(model, TellsKinds) else ()
        found = run(lambda batch: self._accumulate(model, batch), x, mask)
        means, spread = found[:-1].clamp(0, 1), found[-1].clamp(min=0)
        p = means.sum(dim=0).clamp(max=1)
        if self.intensity:
            p = torch.sigmoid(p.logit(eps=SURE) + self.intensity * x.float().mean(dim=0))
        return Scored(
            p,
            reconstruction=run(model.restored, x, mask)
            if isinstance(model, FillsLesions) and model.restores
            else None,
            uncertainty=entropy(*means) if self.uncertainty == "entropy" else spread,
            kinds=dict(zip(kinds, means, strict=True)) if kinds else None,
        )

    def _accumulate(self, model: Any, x: Tensor) -> Tensor:
        """Mean of the draws of each kind and the spread of their sum, (B, C, S) to (B, K + 1, S)."""
        mean = total = torch.zeros_like(x[:, :1], dtype=torch.float32)
        for count, draw in enumerate(model.segmentations(x, self.draws, **self.sampling), start=1):
            before = draw.float() - mean
            mean = mean + before / count
            # Welford: E[p²] − E[p]² would lose the digits that matter
            total = total + before.sum(dim=1, keepdim=True) * (draw - mean).sum(dim=1, keepdim=True)
        spread = model.predicted_variance(x) if self.uncertainty == "aleatoric" else total / self.draws
        return torch.cat([mean, spread.float()], dim=1)


def entropy(*p: Tensor) -> Tensor:
    """Entropy in bits of the classes of given probabilities and the one that has the rest, any
    shape; 0 where one of them is 1.
    """
    rest = (1 - sum(p)).clamp(min=0)  # type: ignore[union-attr]
    bits: Tensor = sum(torch.special.entr(each) for each in (*p, rest)) / log(2)
    return bits
