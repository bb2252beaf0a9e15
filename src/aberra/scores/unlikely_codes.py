"""How unlikely the unlikely words of a code are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F

from aberra.capabilities import HasCodePrior
from aberra.options import Between, NotNegative, configured
from aberra.restore.healthy import Auto
from aberra.restore.resampled_codes import UNLIKELY, unlikely_from
from aberra.scores import Scored

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume


class UnlikelyCodes:
    """−log p of the words that are unlikely behind those before them, 0 of all others, each where
    its word lies; for the score of a case.

    Naval Marimont, Tarroni 2021 (ISBI, arXiv 2012.06765): the score of a sample is the sum of −log
    p over its unlikely words alone, as the many likely ones of healthy anatomy say how well it can
    be foretold, and not whether something is wrong.

    Args:
        threshold: −log p in nats above which a word counts. ``auto``: the quantile ``share`` of the
            words of healthy validation cases; 5 where there were none.
        share: of healthy words that do not count; only with ``auto``.

    Raises:
        ConfigError: a threshold below 0 or a share that is none.

    Deviation: a map, of which ``[case] reduce`` makes one number, as ``mean`` does of the sum: per
    pixel of the foreground.
    """

    name = "unlikely-codes"
    needs = (HasCodePrior,)

    @configured("score")
    def __init__(self, *, threshold: NotNegative | Auto = "auto", share: Between = 0.98) -> None:
        self.auto = isinstance(threshold, str)
        self.threshold = UNLIKELY if isinstance(threshold, str) else threshold
        self.share = share

    def __call__(self, model: HasCodePrior, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""

        def found(batch: Tensor) -> Tensor:
            nats = model.surprise(batch)
            return F.interpolate((nats * (nats > self.threshold))[:, None], batch.shape[2:])

        return Scored(run(found, x, mask)[0].clamp(min=0))

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Find the threshold on prepared healthy volumes where it is ``auto``."""
        return {"threshold": unlikely_from(model, volumes, run, self.share)} if self.auto else {}
