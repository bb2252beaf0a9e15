"""Hierarchical autoencoder with two discrete codes (VQ-VAE-2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.codebook import Codebook, commitment
from aberra.nets.oord import Decoder, Encoder, check_size, enlarge
from aberra.nets.unified import conv
from aberra.options import Dims, Edge, Levels, NotNegative, Several, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from torch import Generator

    from aberra.batch import Batch

BOTTOM, TOP = 2, 1
"""How often the image is halved to the bottom map, and that map to the top one."""


class VQVAE2(nn.Module):
    """Writes an image as two maps of words: a coarse one for what is global, and a fine one for what
    that leaves open.

    Razavi, van den Oord, Vinyals 2019 (arXiv 1906.00446), algorithm 1; the comparison of Zimmerer's
    thesis (Heidelberg 2022). The top map has an eighth of the image's edge, the bottom map a
    quarter; the bottom's words are chosen of the image and of the top's words, and the decoder sees
    both. Dictionaries learn as in :class:`aberra.models.vqvae.VQVAE`:

        L = ‖x − x̂‖² + β·(‖z_top − sg[e_top]‖² + ‖z_bottom − sg[e_bottom]‖²)

    summed over pixels and maps, mean over the batch.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        width: filters; the paper's 128.
        inside: filters within residual blocks; the paper's 64.
        blocks: residual blocks of each encoder and decoder; the paper's 2.
        words: size of each dictionary; the paper's 512.
        latent: length of a word; the paper's 64.
        commitment: β; the paper's 0.25.
        decay: γ of the words' moving average; the paper's 0.99.

    Raises:
        ConfigError: an edge that is not divisible by 8, fewer than two words or a decay out of
            range.

    1,712,705 parameters at any size with one channel in 2-D, and 65,536 numbers in the dictionaries.

    Deviation: words that hardly any vector chooses are put on random vectors of the batch. The
    paper's second networks, which learn how likely maps of words are, are left out.

    Examples:
        >>> import torch
        >>> from aberra.models.vqvae2 import VQVAE2
        >>> model = VQVAE2(channels=1, size=(32, 32), width=8, inside=4, words=16, latent=4).eval()
        >>> x = torch.rand(2, 1, 32, 32)
        >>> top, bottom = model.choose(x)
        >>> top.shape, bottom.shape
        (torch.Size([2, 4, 4]), torch.Size([2, 8, 8]))
    """

    name = "vqvae2"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        width: Width = 128,
        inside: Width = 64,
        blocks: Levels = 2,
        words: Several = 512,
        latent: Width = 64,
        commitment: NotNegative = 0.25,
        decay: ShareBelowOne = 0.99,
    ) -> None:
        super().__init__()
        check_size(size, BOTTOM + TOP)
        self.commitment = commitment
        inner = {"dims": dims, "width": width, "inside": inside, "blocks": blocks}
        self.bottom_encoder = Encoder(channels=channels, halvings=BOTTOM, **inner)
        self.top_encoder = Encoder(channels=width, halvings=TOP, **inner)
        self.top_code = conv(dims)(width, latent, 1)
        self.top_words = Codebook(words, latent, decay)
        self.top_decoder = Decoder(features=latent, out=latent, halvings=TOP, **inner)
        self.bottom_code = conv(dims)(width + latent, latent, 1)
        self.bottom_words = Codebook(words, latent, decay)
        self.enlarge = enlarge(dims, latent, latent)
        self.decoder = Decoder(features=2 * latent, out=channels, halvings=BOTTOM, **inner)

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the words of the top and the bottom map, (B, S / 8) and (B, S / 4)."""
        codes = self._codes(x)
        return self.top_words.choose(codes.top), self.bottom_words.choose(codes.bottom)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        return self._decode(self._codes(x))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error and commitment; moves the words in training. The mask is not used."""
        x = batch.x
        codes = self._codes(x, batch.generator if self.training else None)
        reconstruction = F.mse_loss(self._decode(codes), x, reduction="sum") / len(x)
        pull = commitment(codes.top, codes.top_words) + commitment(codes.bottom, codes.bottom_words)
        loss = reconstruction + self.commitment * pull
        return {"loss": loss, "reconstruction": reconstruction, "commitment": pull}

    def _codes(self, x: Tensor, generator: Generator | None = None) -> _Codes:
        """Vectors of both maps and their words, which a generator moves first."""
        near = self.bottom_encoder(x)
        top = self.top_code(self.top_encoder(near))
        if generator is not None:
            self.top_words.move(top.detach(), generator)
        top_words = self.top_words(top)
        bottom = self.bottom_code(torch.cat([self.top_decoder(top_words), near], dim=1))
        if generator is not None:
            self.bottom_words.move(bottom.detach(), generator)
        return _Codes(top, top_words, bottom, self.bottom_words(bottom))

    def _decode(self, codes: _Codes) -> Tensor:
        seen = torch.cat([self.enlarge(codes.top_words), codes.bottom_words], dim=1)
        out: Tensor = self.decoder(seen)
        return out


class _Codes(NamedTuple):
    """Vectors and the words nearest to them, (B, L, S / 8) and (B, L, S / 4)."""

    top: Tensor
    top_words: Tensor
    bottom: Tensor
    bottom_words: Tensor
