"""Skip-autoencoder with dropout on its skips, a Bayesian one with dropout left on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.dropout import MCDropout, drawn
from aberra.nets.unified import SLOPE, Encoder, conv, normaliser, stages, widths
from aberra.options import Dims, Edge, Maybe, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


class SkipAE(nn.Module):
    """A convolutional autoencoder whose skips keep detail and whose dropout on the skips keeps it
    from copying.

    Baur, Wiestler, Albarqouni, Navab 2020, "Bayesian Skip-Autoencoders" (ISBI): with encoder
    features eₗ at 1/2ˡ of the resolution and masks θₗ ~ Bernoulli(1 − p),

        dₙ = eₙ,   dₗ₋₁ = up([dₗ, θₗ ⊙ eₗ]) where there is a skip, else up(dₗ),
        x̂ = conv(d₀),   L = ‖x − x̂‖₁,

    summed over pixels, mean over the batch. Left on in use, the masks give draws x̂₁, x̂₂, …
    (:meth:`sample_reconstructions`); their mean residual is restoration ``draws``, their spread the
    score ``spread``.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        width: filters of the first stage.
        skips: how many skips, the innermost first; None is all but none at full resolution, 3 at
            128².
        skip_dropout: p, of single features of the skips.

    Raises:
        ConfigError: a size that cannot be halved, or more skips than there are.

    1,641,057 parameters at 128², one channel.

    Deviation: encoder and decoder are the comparative study's (:mod:`aberra.nets.unified`) with a
    spatial code. The number of skips and p, which the authors call intricate to set, are ours.
    """

    name = "skip-ae"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        width: Width = 32,
        skips: Maybe | None = None,
        skip_dropout: ShareBelowOne = 0.5,
    ) -> None:
        super().__init__()
        depth = stages(size)
        skips = depth - 1 if skips is None else skips
        if skips >= depth:
            raise ConfigError(f"model.skips={skips}; expected 0 to {depth - 1} at size {tuple(size)}")
        layers = list(Encoder(channels=channels, dims=dims, size=size, width=width))
        self.down = nn.ModuleList(
            nn.Sequential(*layers[first : first + 3]) for first in range(0, 3 * depth, 3)
        )
        up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        filters = widths(width, size)
        self.skips = nn.ModuleList(MCDropout(skip_dropout) for _ in range(skips))
        self.up = nn.ModuleList()
        for index in range(depth):
            level = depth - 1 - index  # of the features that come in; the skip's are as many
            before = filters[level] * (2 if 1 <= index <= skips else 1)
            after = filters[max(0, level - 1)]
            self.up.append(
                nn.Sequential(
                    up(before, after, 5, stride=2, padding=2, output_padding=1),
                    normaliser("batch", dims, after),
                    nn.LeakyReLU(SLOPE),
                )
            )
        self.head = conv(dims)(filters[0], channels, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S); in use without dropout."""
        features = []
        for stage in self.down:
            x = stage(x)
            features.append(x)
        x = self.up[0](features.pop())
        for index, stage in enumerate(self.up[1:]):
            if index < len(self.skips):
                x = torch.cat([x, self.skips[index](features.pop())], dim=1)
            x = stage(x)
        out: Tensor = self.head(x)
        return out

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Reconstruct ``count`` times with dropout left on: (B, C, S) each, the same features
        dropped in every image.
        """
        for draw in range(count):
            with drawn(self, draw):
                yield self.reconstruct(x)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error, summed over pixels, mean over the batch. The mask is not used."""
        error = F.l1_loss(self.reconstruct(batch.x), batch.x, reduction="sum") / len(batch.x)
        return {"loss": error, "reconstruction": error}
