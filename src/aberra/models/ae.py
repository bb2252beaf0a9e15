"""Autoencoder with a dense or a spatial bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets import dense
from aberra.nets.dropout import MCDropout, drawn
from aberra.nets.unified import Decoder, Encoder
from aberra.options import Dims, Edge, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


class AE(nn.Module):
    """Learns to copy healthy images through a narrow code; what it cannot copy is anomalous.

    Baur, Denner, Wiestler, Navab, Albarqouni 2021 (arXiv 2004.03271), Table I rows "AE (dense)" and "AE (spatial)":
    L = ‖x − x̂‖₁, summed over pixels, mean over the batch.

    Args:
        channels: C.
        dims: 2 or 3. The study is 2-D; in 3-D every convolution is its 3-D sibling.
        size: spatial shape S of the input.
        bottleneck: ``dense`` (a vector of ``latent`` numbers) or ``spatial`` (the encoder's 8×8×128 map itself).
        latent: K of the dense bottleneck.
        width: filters of the first stage; the study's 32 gives 32, 64, 128, 128.
        dropout: on the code, dense or spatial, and on the dense layer behind it.

    Raises:
        ConfigError: unknown bottleneck or a size that cannot be halved.

    Deviation: in 3-D and at sizes other than 128² (see :func:`aberra.nets.unified.stages`); the study has neither. The spatial code
    has dropout; the study names it for the dense layers only. The layers' details are those of :mod:`aberra.nets.unified`.
    """

    name = "ae"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        bottleneck: Literal["dense", "spatial"] = "dense",
        latent: Width = 128,
        width: Width = 32,
        dropout: ShareBelowOne = 0.2,
    ) -> None:
        super().__init__()
        shape: dict[str, Any] = {"channels": channels, "dims": dims, "size": size, "width": width}
        if bottleneck == "dense":
            reads = dense.encoder("unified", **shape)
            self.encoder = nn.Sequential(reads, nn.Linear(reads.features, latent), MCDropout(dropout))
            self.decoder: nn.Module = dense.decoder("unified", **shape, latent=latent, dropout=dropout)
        else:
            features = Encoder(**shape)
            self.encoder = nn.Sequential(features, MCDropout(dropout))
            self.decoder = Decoder(**shape, filters=features.filters)

    def code(self, x: Tensor) -> Tensor:
        """Code of an image: (B, K), or (B, F, S') of the spatial bottleneck."""
        code: Tensor = self.encoder(x)
        return code

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        out: Tensor = self.decoder(self.code(x))
        return out

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Reconstruct ``count`` times with dropout left on, (B, C, S) each (row "Bayesian AE").

        The same units are dropped in every image.
        """
        for draw in range(count):
            with drawn(self, draw):
                yield self.reconstruct(x)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error, summed over pixels, mean over the batch. The mask is not used, as in the study."""
        error = F.l1_loss(self.reconstruct(batch.x), batch.x, reduction="sum") / len(batch.x)
        return {"loss": error}
