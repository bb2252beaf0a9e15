"""A VQ-VAE and the likelihood of its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.densities.code_ar import CodeAR
from aberra.models.vqvae import VQVAE
from aberra.nets.networks import Choice
from aberra.options import Dims, Edge, Width, configured
from aberra.registry import build, fitting_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aberra.batch import Batch

BATCH = 64
"""Images that are spelt at a time."""


class VQVAEAR(nn.Module):
    """Spells an image in words of a learnt dictionary, and knows how likely each word is behind
    those before it: what is unlikely is drawn anew, and the image that the new words make is
    healthy.

    Naval Marimont, Tarroni 2021, *Anomaly Detection Through Latent Space Restoration Using Vector
    Quantized Variational Autoencoders* (ISBI, arXiv 2012.06765). The autoencoder learns first, as
    ``[training]`` says (its loss is this model's); then the density learns the words of at most
    ``training.samples`` healthy samples. Both are tables, ``name`` and options::

        [model.encoder]
        name = "vqvae"
        words = 512

        [model.density]
        name = "code-ar"
        width = 64

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        encoder: ``vqvae``.
        density: of words: ``code-ar``.

    Raises:
        ConfigError: another model or density, or an option of either that cannot be.
        NotFittedError: asked for likelihoods before the density is learnt.

    Examples:
        >>> import torch
        >>> from aberra.models.vqvae_ar import VQVAEAR
        >>> encoder = {"network": {"width": 4}, "words": 8, "latent": 4}
        >>> model = VQVAEAR(channels=1, size=(32, 32), encoder=encoder, density={"epochs": 1}).eval()
        >>> x = torch.rand(6, 1, 32, 32)
        >>> sorted(model.fit_density(x[:4], x[4:], seed=0))
        ['epoch', 'validation']
        >>> model.surprise(x[:2]).shape, next(model.resampled(x[:2], 1.0, 1)).shape
        (torch.Size([2, 4, 4]), torch.Size([2, 1, 32, 32]))
    """

    name = "vqvae-ar"
    TABLES: ClassVar = {
        "encoder": ("models", {"name": "vqvae"}),
        "density": ("densities", {"name": "code-ar"}),
    }

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        encoder: Choice = None,
        density: Choice = None,
    ) -> None:
        super().__init__()
        inner = fitting_table(type(self), "encoder", encoder, _spells, expected="a model that spells")
        head = fitting_table(type(self), "density", density, _of_words, expected="a density of words")
        self.encoder: VQVAE = build("models", inner, channels=channels, dims=dims, size=size)
        with torch.no_grad():
            grid = self.encoder.eval().spell(torch.zeros(1, channels, *size)).shape[1:]
            self.encoder.train()
        words = len(self.encoder.codebook.words)
        self.density: CodeAR = build("densities", head, features=words, size=tuple(grid))
        # the optimiser of the encoder's training leaves it alone
        self.density.requires_grad_(requires_grad=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The autoencoder's."""
        return self.encoder.loss(batch)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The autoencoder's: (B, C, S) to (B, C, S)."""
        return self.encoder.reconstruct(x)

    @torch.no_grad()
    def fit_density(self, x: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn how likely the words of healthy samples ``x`` (N, C, S) are; ``validation`` (M, C,
        S) may be empty.
        """
        learnt, watched = (self._spelt(each) for each in (x, validation))
        return self.density.fit(learnt, watched, seed)

    def surprise(self, x: Tensor) -> Tensor:
        """−log p of each word, in nats: (B, C, S) to (B, S')."""
        with torch.autocast(x.device.type, enabled=False):  # the nearest word is a matter of digits
            return self.density.surprise(self.encoder.spell(x.float()))

    def resampled(self, x: Tensor, threshold: float, count: int) -> Iterator[Tensor]:
        """Yield ``count`` images (B, C, S) in which words of a greater −log p than ``threshold``
        are drawn anew.
        """
        with torch.autocast(x.device.type, enabled=False):
            for words in self.density.resampled(self.encoder.spell(x.float()), threshold, count):
                yield self.encoder.read(words)

    def _spelt(self, x: Tensor) -> Tensor:
        """Words of samples on any device, on the density's, (N, S')."""
        place = self.density.fitted.device
        parts = [self.encoder.spell(part.to(place)) for part in torch.split(x, BATCH) if len(part)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long, device=place)


def _spells(model: type[Any]) -> bool:
    return issubclass(model, VQVAE)


def _of_words(density: type[Any]) -> bool:
    return issubclass(density, CodeAR)
