"""Autoencoder with a dense or a spatial bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.dropout import MCDropout, drawn
from aberra.nets.networks import Choice, Codes, MapCodes, network_for
from aberra.options import Dims, Edge, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


class AE(nn.Module):
    """Learns to copy healthy images through a narrow code; what it cannot copy is anomalous.

    Baur, Denner, Wiestler, Navab, Albarqouni 2021 (arXiv 2004.03271), Table I rows "AE (dense)" and
    "AE (spatial)": L = ‖x − x̂‖₁, summed over pixels, mean over the batch.

    Args:
        channels: C.
        dims: 2 or 3. The study is 2-D; in 3-D every convolution is its 3-D sibling.
        size: spatial shape S of the input.
        network: of vectors, or of maps; its dropout acts on the code, too.
        latent: K, numbers of a vector, 128 by default, or of each location of a map; by default a
            map is the encoder's own (8×8×128).

    Raises:
        ConfigError: another network, or a size that cannot be halved.

    Deviation: in 3-D and at sizes other than 128² (see :func:`aberra.nets.unified.stages`); the
    study has neither. The spatial code may have dropout (``network.dropout``); the study names it
    for the dense layers only. The layers' details are those of :mod:`aberra.nets.unified`.
    """

    name = "ae"
    NETWORK: ClassVar = {"name": "unified"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        latent: Width | None = None,
    ) -> None:
        super().__init__()
        net = network_for(self, network, Codes, channels=channels, dims=dims, size=size)
        reads, dropout = net.encoder(), MCDropout(net.dropout)
        if latent is None and isinstance(net, MapCodes):
            self.encoder = nn.Sequential(reads, dropout)
            self.decoder = net.decoder(None)
        else:
            latent = 128 if latent is None else latent
            self.encoder = nn.Sequential(reads, net.layer(reads.features, latent), dropout)
            self.decoder = net.decoder(latent)

    def code(self, x: Tensor) -> Tensor:
        """Code of an image: (B, K), or (B, K, S') of the spatial bottleneck."""
        code: Tensor = self.encoder(x)
        return code

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Maps of the encoder, finest first: (B, F, S / 2ᵏ)."""
        reads: Any = self.encoder[0]
        maps: list[Tensor] = reads.maps(x)
        return maps

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
        """ℓ1 error, summed over pixels, mean over the batch.

        The mask is not used, as in the study.
        """
        error = F.l1_loss(self.reconstruct(batch.x), batch.x, reduction="sum") / len(batch.x)
        return {"loss": error}
