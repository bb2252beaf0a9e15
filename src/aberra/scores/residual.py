"""Restore × compare: the difference between a scan and its healthy version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from aberra.capabilities import Tunes
from aberra.compare.comparison import Comparison
from aberra.errors import ConfigError
from aberra.options import configured
from aberra.registry import build
from aberra.restore import Moments, Restores, mean_image
from aberra.scores import Scored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume


class Residual:
    """``r(x, x̂)``: find a healthy version x̂, compare.

    Where the restoration gives several, the mean of the comparisons.

    Args:
        restore: how x̂ is found: ``name`` and options of a class of :mod:`aberra.restore`; by
            default the model's reconstruction.
        compare: options of :class:`aberra.compare.comparison.Comparison`; by default the absolute
            difference.

    Raises:
        ConfigError: an option that the restoration or the comparison refuses, or a comparison by
            evidence with a restoration that has none.

    The reconstruction is x̂, or the mean of several; then their standard deviation (mean over
    channels) is the uncertainty, the epistemic one of Kendall & Gal 2017 where the draws are of
    dropout, as Baur et al. 2020 use it. Centring takes the level of that mean, which costs a second
    pass where there are several.
    """

    name = "residual"
    RESTORE: ClassVar[dict[str, Any]] = {"name": "reconstruct"}

    @configured("score")
    def __init__(
        self, *, restore: dict[str, Any] | None = None, compare: dict[str, Any] | None = None
    ) -> None:
        self.options = restore or self.RESTORE
        self.restore: Restores = build("restore", self.options)
        self.compare = Comparison(**(compare or {}))
        if self.compare.asks_evidence and not self.restore.has_evidence:
            raise ConfigError(
                f"score.compare asks for evidence, which the restoration '{self.options['name']}' does not keep; "
                "autoddpm and thor do, or choose another mode"
            )
        self.needs = tuple(dict.fromkeys(self.restore.needs + self.compare.needs))
        self.unit = self.compare.unit
        self.once = self.restore.once and not self.compare.centre  # which looks at the whole scan

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        grad, several, channels = self.restore.grad, self.restore.several, len(x)

        def restored(batch: Tensor) -> Tensor:
            return mean_image(version.packed(batch) for version in self.restore(model, batch))

        packed, level = None, x.new_zeros(channels)
        if not several or self.compare.centre:
            packed = run(restored, x, mask, grad=grad)
            level = self.compare.level(packed[channels:-1], packed[:channels], mask)

        def compared(packed: Tensor) -> Tensor:
            image, reference, evidence = torch.split(packed, [channels, channels, 1], dim=1)
            centred = image + level.to(image).reshape(-1, *[1] * (image.ndim - 2))
            return self.compare(model, reference, centred, evidence)

        if packed is not None and not several:
            return Scored(run(compared, packed, mask)[0], packed[:channels])

        def all_compared(batch: Tensor) -> Tensor:
            images = Moments()

            def maps() -> Iterator[Tensor]:
                for version in self.restore(model, batch):
                    images.add(version.image)
                    yield compared(version.packed(batch))

            found = mean_image(maps())
            return torch.cat([images.mean, found, images.deviation], dim=1)

        found = run(all_compared, x, mask, grad=grad)
        return Scored(found[channels], found[:channels], uncertainty=found[-1])

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Settings that the restoration finds on healthy cases
        (:class:`aberra.capabilities.Tunes`).
        """
        return tuned(self.restore, self.options, model, volumes, run)


def tuned(
    restore: Restores, options: dict[str, Any], model: Any, volumes: Iterable[Volume], run: Runner
) -> dict[str, Any]:
    """What a restoration finds on healthy cases, as ``[score.restore]``; nothing where it has
    nothing to find.
    """
    found = restore.tune(model, volumes, run) if isinstance(restore, Tunes) else {}
    return {"restore": options | found} if found else {}
