"""Unlikely words of a code drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import HasCodePrior
from aberra.options import Between, Few, NotNegative, configured
from aberra.restore import Restored, Restores
from aberra.restore.healthy import Auto, healthy_quantile, healthy_slabs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

UNLIKELY = 5.0
"""Nats from which a word is drawn anew where no healthy case was seen."""


class ResampledCodes(Restores):
    """N healthy versions x̂ₙ of a scan: words of its code that are unlikely behind those before
    them are drawn anew.

    Naval Marimont, Tarroni 2021 (ISBI, arXiv 2012.06765). With ``compare.weighted`` the map is
    Σₙ wₙ·``|x − x̂ₙ|`` with

        wₙ = softmaxₙ(−dₙ / d̄),   dₙ = ‖x − x̂ₙ‖₁,

    d̄ being their mean: versions that are nearer to the scan count more. Without, their mean.

    Args:
        draws: N; all are held at once.
        threshold: −log p in nats above which a word is drawn anew. ``auto``: the quantile ``share``
            of the words of healthy validation cases; 5 where there were none.
        share: of healthy words that are likely enough; only with ``auto``.

    Raises:
        ConfigError: no draw, a threshold below 0 or a share that is none.

    Deviation: the paper's weights are a softmax, too, of a constant over the distance; its
    constant is on another scale.
    """

    name = "resampled-codes"
    needs = (HasCodePrior,)
    has_evidence = True

    @configured("score.restore")
    def __init__(
        self, *, draws: Few = 5, threshold: NotNegative | Auto = "auto", share: Between = 0.9
    ) -> None:
        self.auto = isinstance(threshold, str)
        self.threshold = UNLIKELY if isinstance(threshold, str) else threshold
        self.draws = draws
        self.share = share
        self.several = draws > 1

    def __call__(self, model: HasCodePrior, x: Tensor) -> Iterator[Restored]:
        """Yield the healthy versions of a batch (B, C, S); their evidence is N·wₙ everywhere."""
        images = torch.stack([*model.resampled(x, self.threshold, self.draws)])
        apart = (images.float() - x.float()).abs().flatten(2).mean(dim=2)  # (N, B)
        nearer = -apart / apart.mean(dim=0).clamp(min=torch.finfo(apart.dtype).tiny)
        weights = self.draws * nearer.softmax(dim=0)
        for image, weight in zip(images, weights, strict=True):
            evidence = weight.view(-1, *[1] * (x.ndim - 1)).expand_as(x[:, :1])
            yield Restored(image, evidence=evidence)

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Find the threshold on prepared healthy volumes where it is ``auto``."""
        return {"threshold": unlikely_from(model, volumes, run, self.share)} if self.auto else {}


def unlikely_from(model: HasCodePrior, volumes: Iterable[Volume], run: Runner, share: float) -> float:
    """−log p in nats that the share of the words of healthy volumes have at most; 5 where there are
    none.
    """
    slabs = healthy_slabs(volumes, run)
    if slabs is None:
        return UNLIKELY
    with torch.inference_mode():
        found = [model.surprise(batch.to(run.device)).flatten().cpu() for (batch,) in run.windows(*slabs)]
    return round(healthy_quantile(torch.cat(found), share), 4)
