"""How probable it is, by a classifier, that a slice is of somebody diseased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import Classifies
from aberra.options import configured
from aberra.scores import Scored
from aberra.scores.term import of_slices

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from aberra.detector.windows import Runner

DISEASED = 1
"""Place of the class among a classifier's answers; healthy is 0."""


class Probability:
    """P(diseased | x) of a classifier; constant in each slice (2-D), or blended from windows (3-D).

    As ``[case] score = {name = "probability"}`` it gives the probability of a case, which
    ``detect`` writes beside its score and ``evaluate`` holds against the label (accuracy, Cohen's
    kappa, calibration error): ``[case] reduce`` takes the ``mean`` over its slices, weighed by
    their foreground, or the ``max``. It says what the classifier has learnt, with the classes as
    frequent as in its training: with ``training.balance = 0.5`` one in two.

    Raises:
        PairingError: a model that does not classify.

    Examples:
        >>> import torch
        >>> from aberra.detector.windows import Runner
        >>> from aberra.scores.probability import Probability
        >>> class Coin:
        ...     def classify(self, x):
        ...         return torch.full((len(x), 2), 0.5).log()
        >>> x, mask = torch.zeros(1, 3, 8, 8), torch.ones(3, 8, 8, dtype=torch.bool)
        >>> Probability()(Coin(), x, mask, Runner(dims=2, size=(8, 8))).map.unique()
        tensor([0.5000])
    """

    name = "probability"
    needs = (Classifies,)
    probability = True
    """The map is one (:class:`aberra.capabilities.MapsProbability`)."""

    @configured("score")
    def __init__(self) -> None:
        pass

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        return Scored(of_slices(lambda batch, _: diseased(model, batch), x, mask, run).clamp(0, 1))


def diseased(model: Classifies, x: Tensor) -> Tensor:
    """P(diseased | x), (B, C, S) to (B,)."""
    return model.classify(x).float()[:, DISEASED].exp()
