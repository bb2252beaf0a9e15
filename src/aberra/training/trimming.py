"""A training set that is not all healthy: what is learnt worst of a batch is left out of it.

Iterative trimmed loss minimisation (Shen and Sanghavi 2019, ICML, PMLR 97), after Rousseeuw's least
trimmed squares (1984): what few samples have in common with none of the others has the largest losses
while a model is learning, and takes no part in what it learns next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from aberra.capabilities import (
    AnchorsClasses,
    ComparesSamples,
    LearnsFromLesions,
    LearnsFromPlanted,
    LearnsInTurns,
)
from aberra.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from aberra.training.config import TrainingConfig


def expect_trimmable(model: nn.Module, config: TrainingConfig) -> None:
    """Refuse to leave out samples where that is not possible, or would be none.

    Raises:
        ConfigError: the model's losses are not those of single samples, or are of lesions that it is
            told of; or the share of a batch is less than one sample.
    """
    if not config.trim:
        return
    why = ""
    if isinstance(model, LearnsInTurns):
        why = "has players or stages that learn against each other, and no loss of its own of a sample"
    elif isinstance(model, AnchorsClasses) or any(
        isinstance(part, ComparesSamples) and part.compares_samples for part in model.modules()
    ):
        why = "compares the samples of a batch, so that none of them has a loss of its own"
    elif isinstance(model, LearnsFromLesions) and not isinstance(model, LearnsFromPlanted):
        why = "is told which samples are diseased, and those are what it learns worst"
    if why:
        raise ConfigError(f"training.trim: this model {why}; leave it out, or clean the training set")
    if int(config.trim * config.batch_size) == 0:
        raise ConfigError(
            f"training.trim={config.trim:g} of a batch of {config.batch_size} is less than a sample; raise training.batch_size or trim"
        )


def kept(losses: Tensor, share: float) -> Tensor:
    """The samples that stay, in their order, where the given share with the highest losses is left
    out, rounded down; of equal losses the later ones go.

    Args:
        losses: of a batch, (B,).
        share: in [0, 1).

    Examples:
        >>> import torch
        >>> from aberra.training.trimming import kept
        >>> kept(torch.tensor([3.0, 1.0, 9.0, 1.0]), 0.25).tolist()
        [0, 1, 3]
    """
    count = len(losses) - int(share * len(losses))
    return torch.argsort(losses, stable=True)[:count].sort().values
