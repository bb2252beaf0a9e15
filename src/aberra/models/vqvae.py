"""Autoencoder with a discrete code (VQ-VAE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.networks import Choice, MapCodes, network_for
from aberra.options import Dims, Edge, NotNegative, Several, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from torch import Generator

    from aberra.batch import Batch

DEAD = 0.1
"""A code word with fewer vectors a step, in the moving average, is put elsewhere."""


class VQVAE(nn.Module):
    """Keeps an 8×8 map of words out of a learnt dictionary; healthy anatomy has words, a lesion has
    none.

    van den Oord, Vinyals, Kavukcuoglu 2017 (arXiv 1711.00937), eq. 1–3 and appendix A.1. Each
    vector z of the encoder's map is replaced by the nearest word e; the gradient passes as if it
    were not (straight through). Words follow the moving average of the vectors they stand for, N ←
    γN + (1 − γ)n, m ← γm + (1 − γ)Σz, e = m / N, and

        L = ‖x − x̂‖₁ + β ‖z − sg[e]‖²,

    both summed, over pixels and over the map, mean over the batch.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: of maps, ``unified-spatial``; its dropout acts on the vectors.
        words: size of the dictionary; the paper's 512.
        latent: length of a word; the paper's 64.
        commitment: β; the paper's 0.25.
        decay: γ; the paper's 0.99.

    Raises:
        ConfigError: a size that cannot be halved, fewer than two words or a decay out of range.

    1,376,289 weights and 32,768 numbers in the dictionary at 128², one channel.

    Deviation: the unified network (:mod:`aberra.nets.unified`) and its ℓ1 error; the paper has
    residual blocks, a Gaussian output and a finer map. Words that hardly any vector chooses are put
    on random vectors of the batch, the first ones included (as in later work: Dhariwal et al. 2020,
    Jukebox); the paper leaves them.
    """

    name = "vqvae"
    NETWORK: ClassVar = {"name": "unified-spatial"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        words: Several = 512,
        latent: Width = 64,
        commitment: NotNegative = 0.25,
        decay: ShareBelowOne = 0.99,
    ) -> None:
        super().__init__()
        self.commitment = commitment
        self.decay = decay
        net = network_for(self, network, MapCodes, channels=channels, dims=dims, size=size)
        reads = net.encoder()
        self.encoder = nn.Sequential(reads, net.layer(reads.features, latent), nn.Dropout(net.dropout))
        self.decoder = net.decoder(latent)
        self.codebook: Tensor
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("codebook", torch.randn(words, latent))
        self.register_buffer("counts", torch.zeros(words))
        self.register_buffer("sums", torch.zeros(words, latent))

    def choose(self, z: Tensor) -> Tensor:
        """Index of the word nearest to each vector: (B, L, S') to (B, S')."""
        vectors = _vectors(z)
        # exact distances: the short cut by a matrix product rounds differently in batches of
        # another size
        exact = "donot_use_mm_for_euclid_dist"
        nearest = torch.cdist(vectors, self.codebook, compute_mode=exact).argmin(dim=1)
        return nearest.reshape(len(z), *z.shape[2:])

    def quantise(self, z: Tensor) -> Tensor:
        """Nearest words, with the gradient of the identity: (B, L, S') to (B, L, S')."""
        words = F.embedding(self.choose(z), self.codebook).movedim(-1, 1)
        return words + (z - z.detach())  # adds zero, so the words stay what they are to the last bit

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        out: Tensor = self.decoder(self.quantise(self.encoder(x)))
        return out

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error and commitment; moves the words in training. The mask is not used."""
        x = batch.x
        z = self.encoder(x)
        if self.training:
            self._move_words(z.detach(), batch.generator)
        words = self.quantise(z)
        reconstruction = F.l1_loss(self.decoder(words), x, reduction="sum") / len(x)
        commitment = F.mse_loss(z, words.detach(), reduction="sum") / len(x)
        loss = reconstruction + self.commitment * commitment
        return {"loss": loss, "reconstruction": reconstruction, "commitment": commitment}

    @torch.no_grad()
    def _move_words(self, z: Tensor, generator: Generator) -> None:
        """Put words that nothing chooses on vectors of the batch, then move each to the mean of
        those that choose it.
        """
        vectors, count = _vectors(z), len(self.codebook)
        # drawn whether used or not, so that what is drawn next does not depend on it
        picks = torch.randint(len(vectors), (count,), generator=generator, device=vectors.device)
        dead = self.counts < DEAD
        self.sums.copy_(torch.where(dead[:, None], vectors[picks], self.sums))
        self.counts.masked_fill_(dead, 1.0)
        self.codebook.copy_(self.sums / self.counts[:, None])
        chosen = F.one_hot(self.choose(z).flatten(), count).to(vectors)
        with torch.autocast(z.device.type, enabled=False):  # sums in bf16 would lose the vectors' digits
            total = chosen.T @ vectors
        self.counts.lerp_(chosen.sum(dim=0), 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        self.codebook.copy_(self.sums / self.counts[:, None])


def _vectors(z: Tensor) -> Tensor:
    """Shape (B, L, S') to (B·S', L) in 32 bit."""
    return z.movedim(1, -1).flatten(0, -2).float()
