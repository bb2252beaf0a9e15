"""Nearest neighbours in a memory bank of healthy features."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from aberra.densities.map_density import MapDensity, Maps
from aberra.errors import ConfigError, TrainingError
from aberra.options import Count, Edge, Few, Width, configured

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK = 4096
"""Locations at a time, so that memory stays bounded."""
SPARE = 3
"""Neighbours beyond those asked for whose distances are computed without cancellation, too."""


class MemoryBank(MapDensity):
    """The distance of each location's features to the nearest ones of healthy images:
    s = min over m in M of ‖z − m‖₂.

    Roth et al. 2022, *Towards Total Recall in Industrial Anomaly Detection* (PatchCore, arXiv
    2106.08265). M is a greedy coreset of the locations of all healthy maps (their eq. 5 and
    algorithm 1): one after the other, the location farthest from those that are in it already,
    until the budget is spent or nothing is left. Where a location lies does not matter.

    (budget + 2)·F + 2 numbers.

    Args:
        features: F.
        size: S'.
        budget: most locations of M.
        candidates: locations, drawn at random from all healthy maps, that M is chosen from.
        neighbours: k; the score is the mean distance of the k nearest.
        sampling: ``coreset``, or ``random``: the first candidates, whatever they are.

    Raises:
        ConfigError: a budget above the candidates or below k.
        TrainingError: fewer locations than k.

    Deviation: features are standardised. Distances are those of all features, not of a random
    projection. The publication weighs an image's score by the neighbours of its nearest neighbour
    (eq. 7); ours comes from the map.

    Examples:
        >>> import torch
        >>> from aberra.densities.map_density import Maps
        >>> from aberra.densities.memory_bank import MemoryBank
        >>> z = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> maps, unseen = Maps(z[:8], lambda z: z), Maps(z[8:], lambda z: z)
        >>> bank = MemoryBank(features=3, size=(4, 4), budget=128, candidates=128)
        >>> bank.fit(maps, unseen, seed=0)["bank"]
        128
        >>> float(bank.energy(z[:8]).max()), bool((bank.energy(z[8:]) > 0).all())
        (0.0, True)
    """

    name = "memory-bank"
    bank: Tensor
    count: Tensor

    @configured("model.density")
    def __init__(
        self,
        *,
        features: Width,
        size: Sequence[Edge],
        budget: Width = 4096,
        candidates: Count = 16_384,
        neighbours: Few = 1,
        sampling: Literal["coreset", "random"] = "coreset",
    ) -> None:
        super().__init__(features, size)
        if not neighbours <= budget <= candidates:
            raise ConfigError(
                f"model.density: budget={budget}, neighbours={neighbours}, candidates={candidates}; "
                "expected neighbours ≤ budget ≤ candidates"
            )
        self.candidates = candidates
        self.neighbours = neighbours
        self.sampling = sampling
        self.register_buffer("bank", torch.zeros(budget, features))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))  # rows behind it are not used

    def standard_energy(self, z: Tensor) -> Tensor:
        """Distance of standardised maps, (B, F, S') to (B, S'), in standard deviations."""
        rows = z.movedim(1, -1)
        found = [self._distance(part) for part in torch.split(rows.flatten(0, -2), CHUNK)]
        return torch.cat(found).view(rows.shape[:-1])

    def fit_standard(self, maps: Maps, validation: Maps, seed: int) -> Mapping[str, Any]:
        """Choose the bank; return its size and its radius, the distance within which each candidate
        has a neighbour.
        """
        del validation
        generator = torch.Generator().manual_seed(seed)
        drawn = self._draw(maps, generator)
        if len(drawn) < self.neighbours:
            raise TrainingError(
                f"memory-bank: {len(drawn)} locations, fewer than {self.neighbours} neighbours"
            )
        drawn = drawn[torch.randperm(len(drawn), generator=generator).to(drawn.device)]
        chosen = drawn[: len(self.bank)] if self.sampling == "random" else coreset(drawn, len(self.bank))
        if len(chosen) < self.neighbours:  # all others are equal to one of these
            chosen = chosen[torch.arange(self.neighbours, device=chosen.device) % len(chosen)]
        self.bank.zero_()[: len(chosen)] = chosen
        self.count.fill_(len(chosen))
        radius = max(float(self._distance(part).max()) for part in torch.split(drawn, CHUNK))
        return {"bank": len(chosen), "radius": round(radius, 3)}

    def _draw(self, maps: Maps, generator: torch.Generator) -> Tensor:
        """Random locations of all maps (all of them, where there are no more), (M, F)."""
        places = prod(self.size)
        picks = torch.randperm(len(maps) * places, generator=generator)[: self.candidates].sort().values
        found, begin = [], 0
        for part in maps.parts():
            rows = part.movedim(1, -1).flatten(0, -2)
            own = picks[(picks >= begin) & (picks < begin + len(rows))] - begin
            found.append(rows[own.to(rows.device)])
            begin += len(rows)
        return torch.cat(found)

    def _distance(self, rows: Tensor) -> Tensor:
        """Mean distance of the k nearest in the bank, (V, F) to (V,)."""
        bank = self.bank[: int(self.count)]
        # which are near is found by a product of matrices, how near they are is not: it cancels
        rough = bank.square().sum(dim=1) - 2 * rows @ bank.T
        few = min(len(bank), self.neighbours + SPARE)
        near = bank[rough.topk(few, dim=1, largest=False).indices]
        apart = (rows[:, None] - near).square().sum(dim=2).sqrt()
        return apart.topk(self.neighbours, dim=1, largest=False).values.mean(dim=1)


def coreset(rows: Tensor, budget: int) -> Tensor:
    """A greedy coreset: (M, F) to (at most ``budget``, F).

    The first row, then again and again the one farthest from those that are chosen, as long as one
    is different. No row is farther from the nearest one chosen than twice the least distance that
    any choice of so many could reach.
    """
    far = torch.full((len(rows),), torch.inf, device=rows.device)
    chosen: list[Tensor] = []
    next_one = torch.zeros((), dtype=torch.long, device=rows.device)
    while len(chosen) < min(budget, len(rows)):
        chosen.append(next_one)
        far = torch.minimum(far, (rows - rows[next_one]).square().sum(dim=1))
        next_one = far.argmax()
        if not bool(far[next_one] > 0):
            break
    return rows[torch.stack(chosen)]
