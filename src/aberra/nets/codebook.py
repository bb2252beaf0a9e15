"""A learnt dictionary: vectors of a map are replaced by the nearest of its words (vector
quantisation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch import Generator

DEAD = 0.1
"""A word with fewer vectors a step, in the moving average, is put elsewhere."""


class Codebook(nn.Module):
    """Words that follow the moving average of the vectors they stand for.

    van den Oord, Vinyals, Kavukcuoglu 2017 (arXiv 1711.00937), appendix A.1: N ← γN + (1 − γ)n, m ←
    γm + (1 − γ)Σz, e = m / N. Words that hardly any vector chooses are put on random vectors of the
    batch, the first ones included (Dhariwal et al. 2020, Jukebox); the paper leaves them.

    Args:
        count: of words.
        length: L, of a word.
        decay: γ.
    """

    words: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, count: int, length: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("words", torch.randn(count, length))
        self.register_buffer("counts", torch.zeros(count))
        self.register_buffer("sums", torch.zeros(count, length))

    def choose(self, z: Tensor) -> Tensor:
        """Index of the word nearest to each vector: (B, L, S') to (B, S')."""
        # exact distances: the short cut by a matrix product rounds differently in batches of
        # another size
        exact = "donot_use_mm_for_euclid_dist"
        nearest = torch.cdist(_vectors(z), self.words, compute_mode=exact).argmin(dim=1)
        return nearest.reshape(len(z), *z.shape[2:])

    def forward(self, z: Tensor) -> Tensor:
        """Nearest words, with the gradient of the identity: (B, L, S') to (B, L, S')."""
        words = F.embedding(self.choose(z), self.words).movedim(-1, 1)
        return words + (z - z.detach())  # adds zero, so the words stay what they are to the last bit

    @torch.no_grad()
    def move(self, z: Tensor, generator: Generator) -> None:
        """Put words that nothing chooses on vectors of the batch (B, L, S'), then move each to the
        mean of those that choose it.
        """
        vectors, count = _vectors(z), len(self.words)
        # drawn whether used or not, so that what is drawn next does not depend on it
        picks = torch.randint(len(vectors), (count,), generator=generator, device=vectors.device)
        dead = self.counts < DEAD
        self.sums.copy_(torch.where(dead[:, None], vectors[picks], self.sums))
        self.counts.masked_fill_(dead, 1.0)
        self.words.copy_(self.sums / self.counts[:, None])
        chosen = F.one_hot(self.choose(z).flatten(), count).to(vectors)
        with torch.autocast(z.device.type, enabled=False):  # sums in bf16 would lose the vectors' digits
            total = chosen.T @ vectors
        self.counts.lerp_(chosen.sum(dim=0), 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        self.words.copy_(self.sums / self.counts[:, None])


def commitment(z: Tensor, words: Tensor) -> Tensor:
    """‖z − sg[e]‖², summed over the map, mean over the batch."""
    return F.mse_loss(z, words.detach(), reduction="sum") / len(z)


def _vectors(z: Tensor) -> Tensor:
    """Shape (B, L, S') to (B·S', L) in 32 bit."""
    return z.movedim(1, -1).flatten(0, -2).float()
