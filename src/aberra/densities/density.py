"""What all densities share: features are standardised, and nothing is asked before they are
learnt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.errors import NotFittedError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST = 1e-6
"""A feature whose standard deviation is smaller stands still, and is left as it is."""


class Standardised(nn.Module, ABC):
    """Features (B, F, ...) over their mean and standard deviation, once these are learnt.

    Args:
        features: F.
    """

    name: ClassVar[str]
    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def _learnt(self, mean: Tensor, std: Tensor) -> None:
        """Keep mean and standard deviation, (F,) each."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < LEAST, torch.ones_like(std), std))

    def _expect_fitted(self) -> None:
        if not self.fitted:
            raise NotFittedError(self.name)

    def _standard(self, z: Tensor) -> Tensor:
        each = (-1, *[1] * (z.ndim - 2))
        return (z.to(self.mean) - self.mean.view(each)) / self.std.view(each)


class Density(Standardised):
    """p(z) of vectors (B, F), learnt at once from a set of them.

    Args:
        features: F.
    """

    def log_density(self, z: Tensor) -> Tensor:
        """Log p(z) in nats, (B, F) to (B,), differentiable.

        Raises:
            NotFittedError: asked before :meth:`fit`.
        """
        self._expect_fitted()
        return self.standard_log_density(self._standard(z)) - self.std.log().sum()

    @torch.no_grad()
    def fit(self, z: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn from features ``z`` (N, F) of healthy samples; what has to be chosen is chosen by
        the likelihood of ``validation`` (M, F), healthy too.

        Without validation features the last fifth of ``z`` is not learnt from and takes their
        place.

        Returns:
            What was chosen, and the mean log-density of the validation features.

        Raises:
            TrainingError: too few features, or one that is not finite.
        """
        if not len(validation):
            kept = len(z) - max(1, len(z) // 5)
            z, validation = z[:kept], z[kept:]
        if len(z) < 2:
            raise TrainingError(
                f"{self.name}: {len(z)} sample(s) to learn a density from; expected 2 or more"
            )
        if not all(bool(torch.isfinite(each).all()) for each in (z, validation)):
            raise TrainingError(f"{self.name}: a feature is not finite; the encoder's training has failed")
        self._learnt(z.mean(dim=0), z.std(dim=0))
        chosen = self.fit_standard(self._standard(z), self._standard(validation), seed)
        self.fitted.fill_(True)  # noqa: FBT003
        return {**chosen, "validation": round(float(self.log_density(validation).mean()), 3)}

    @abstractmethod
    def standard_log_density(self, z: Tensor) -> Tensor:
        """Log p of standardised features, (B, F) to (B,)."""

    @abstractmethod
    def fit_standard(self, z: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn from standardised features; return what was chosen."""
