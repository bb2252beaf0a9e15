"""What all densities of feature maps share: features are standardised, and nothing is asked before
they are learnt.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aberra.densities.density import Standardised
from aberra.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BATCH = 32
"""Maps that are held at a time."""
KEPT = 1 << 30
"""Bytes up to which maps are made once and kept; more are made again whenever they are asked for."""


@dataclass(frozen=True)
class Maps:
    """Feature maps of a set of images.

    Attributes:
        x: the images, (N, ...), on any device.
        of: makes maps (B, F, S') of a part of them.
    """

    x: Tensor
    of: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        return self.of(self.x[rows])

    def parts(self) -> Iterator[Tensor]:
        """All of them in order, a few at a time."""
        for part in torch.split(self.x, BATCH):
            yield self.of(part)

    def then(self, function: Callable[[Tensor], Tensor]) -> Maps:
        """The maps that a function makes of these."""
        return Maps(self.x, lambda x: function(self.of(x)))

    def kept(self) -> Maps:
        """The same maps, made once and for all where they are small."""
        if not len(self) or self[:1].nbytes * len(self) > KEPT:
            return self
        return Maps(torch.cat([*self.parts()]), lambda maps: maps)


class MapDensity(Standardised):
    """How unlikely each location of a feature map (B, F, S') is, learnt at once from a set of maps.

    Args:
        features: F.
        size: S'.
    """

    def __init__(self, features: int, size: Sequence[int]) -> None:
        super().__init__(features)
        self.size = tuple(size)

    def energy(self, z: Tensor) -> Tensor:
        """How unlikely each location is, (B, F, S') to (B, S'), not negative.

        Raises:
            NotFittedError: asked before :meth:`fit`.
        """
        self._expect_fitted()
        return self.standard_energy(self._standard(z))

    @torch.no_grad()
    def fit(self, maps: Maps, validation: Maps, seed: int) -> Mapping[str, Any]:
        """Learn from maps of healthy images; what has to be chosen is chosen by ``validation``,
        healthy too.

        Without validation maps the last fifth of ``maps`` is not learnt from and takes their place.

        Returns:
            What was chosen, and the mean energy of the validation maps.

        Raises:
            TrainingError: too few maps, or a feature that is not finite.
        """
        if not len(validation):
            kept = len(maps) - max(1, len(maps) // 5)
            maps, validation = Maps(maps.x[:kept], maps.of), Maps(maps.x[kept:], maps.of)
        if len(maps) < 2:
            raise TrainingError(
                f"{self.name}: {len(maps)} sample(s) to learn a density from; expected 2 or more"
            )
        total, squares = (torch.zeros_like(self.mean, dtype=torch.float64) for _ in range(2))
        count = 0
        for part in maps.parts():
            rows = part.double().movedim(1, -1).flatten(0, -2)
            total, squares, count = total + rows.sum(0), squares + rows.square().sum(0), count + len(rows)
        mean = total / count
        std = (squares / count - mean**2).clamp(min=0).sqrt()
        if not bool(std.isfinite().all()):
            raise TrainingError(f"{self.name}: a feature is not finite; the encoder's training has failed")
        self._learnt(mean, std)
        chosen = self.fit_standard(maps.then(self._standard), validation.then(self._standard), seed)
        self.fitted.fill_(True)  # noqa: FBT003
        mean_energy = sum(
            float(self.energy(part).mean(dtype=torch.float64)) * len(part) for part in validation.parts()
        )
        return {**chosen, "validation": round(mean_energy / len(validation), 3)}

    @abstractmethod
    def standard_energy(self, z: Tensor) -> Tensor:
        """Energy of standardised maps, (B, F, S') to (B, S')."""

    @abstractmethod
    def fit_standard(self, maps: Maps, validation: Maps, seed: int) -> Mapping[str, Any]:
        """Learn from standardised maps; return what was chosen."""
