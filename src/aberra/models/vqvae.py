"""Autoencoder with a discrete code (VQ-VAE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.codebook import Codebook, commitment
from aberra.nets.networks import Choice, MapCodes, network_for
from aberra.options import Dims, Edge, NotNegative, Several, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from aberra.batch import Batch


class VQVAE(nn.Module):
    """Keeps an 8×8 map of words out of a learnt dictionary; healthy anatomy has words, a lesion has
    none.

    van den Oord, Vinyals, Kavukcuoglu 2017 (arXiv 1711.00937), eq. 1–3 and appendix A.1. Each
    vector z of the encoder's map is replaced by the nearest word e; the gradient passes as if it
    were not (straight through). Words follow the moving average of the vectors they stand for
    (:class:`aberra.nets.codebook.Codebook`), and

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
        net = network_for(self, network, MapCodes, channels=channels, dims=dims, size=size)
        reads = net.encoder()
        self.encoder = nn.Sequential(reads, net.layer(reads.features, latent), nn.Dropout(net.dropout))
        self.decoder = net.decoder(latent)
        self.codebook = Codebook(words, latent, decay)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        out: Tensor = self.decoder(self.codebook(self.encoder(x)))
        return out

    def spell(self, x: Tensor) -> Tensor:
        """Numbers of the words of an image, (B, C, S) to (B, S')."""
        return self.codebook.choose(self.encoder(x))

    def read(self, words: Tensor) -> Tensor:
        """The image that words (B, S') make, (B, C, S)."""
        image: Tensor = self.decoder(F.embedding(words, self.codebook.words).movedim(-1, 1))
        return image

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error and commitment; moves the words in training. The mask is not used."""
        x = batch.x
        z = self.encoder(x)
        if self.training:
            self.codebook.move(z.detach(), batch.generator)
        words = self.codebook(z)
        reconstruction = F.l1_loss(self.decoder(words), x, reduction="sum") / len(x)
        pull = commitment(z, words)
        loss = reconstruction + self.commitment * pull
        return {"loss": loss, "reconstruction": reconstruction, "commitment": pull}
