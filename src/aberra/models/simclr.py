"""SimCLR: an encoder that learns which two views are of the same image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.nets.networks import Choice, VectorCodes, network_for
from aberra.nets.views import Views
from aberra.options import (
    Dims,
    Edge,
    NotNegative,
    Positive,
    ShareAboveZero,
    ShareBelowOne,
    Width,
    Within,
    configured,
)

if TYPE_CHECKING:
    from aberra.batch import Batch


class SimCLR(nn.Module):
    """Features of an image that are alike for two views of it, and unlike those of others.

    Chen, Kornblith, Norouzi, Hinton 2020 (arXiv 2002.05709); as the first stage of CRADL (Lüth et
    al. 2023, arXiv 2301.02126), whose network it has. Two views of each image of the batch
    (:class:`aberra.nets.views.Views`) go through the encoder and a projection head K → K → P;
    NT-Xent is :func:`nt_xent`. The head is for the training only: the code is the encoder's.

    It has no score of its own; :class:`aberra.models.feature_density.FeatureDensity` puts a density
    on its codes. 19,931,200 parameters at 128² with one channel, 393,984 of them the head's.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: of vectors; ``cradl`` is the publication's.
        latent: K, numbers of the code.
        projection: P.
        temperature: τ.
        scale: least edge of a view over that of the image.
        rotation: greatest angle of a view in degrees, within the last two axes.
        gain: greatest relative change of a view's brightness.
        noise: greatest σ of a view's noise, in normalised intensities.

    Raises:
        ConfigError: unknown option or network, or a size that cannot be halved.

    Deviation: the publication names crop, scaling, mirroring, rotation, brightness and noise, but
    not how strong they are.

    Examples:
        >>> import torch
        >>> from aberra.models.simclr import SimCLR
        >>> model = SimCLR(channels=1, size=(32, 32), network={"width": 4}, latent=8).eval()
        >>> model.code(torch.rand(3, 1, 32, 32)).shape
        torch.Size([3, 8])
    """

    name = "simclr"
    compares_samples = True
    NETWORK: ClassVar = {"name": "cradl"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        latent: Width = 512,
        projection: Width = 256,
        temperature: Positive = 0.5,
        scale: ShareAboveZero = 0.6,
        rotation: Annotated[float, Within(0, 180)] = 15.0,
        gain: ShareBelowOne = 0.3,
        noise: NotNegative = 0.1,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.views = Views(scale=scale, rotation=rotation, gain=gain, noise=noise)
        net = network_for(self, network, VectorCodes, channels=channels, dims=dims, size=size)
        reads = net.encoder()
        self.encoder = nn.Sequential(reads, net.layer(reads.features, latent))
        self.head = nn.Sequential(nn.Linear(latent, latent), nn.ReLU(), nn.Linear(latent, projection))

    def code(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, K)."""
        code: Tensor = self.encoder(x)
        return code

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Maps of the encoder, finest first: (B, F, S / 2ᵏ)."""
        reads: Any = self.encoder[0]
        maps: list[Tensor] = reads.maps(x)
        return maps

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """NT-Xent of two views of each image; the mask is not used."""
        one, other = (self.head(self.code(self.views(batch.x, batch.generator))) for _ in range(2))
        return {"loss": nt_xent(one, other, self.temperature)}


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Mean over all 2B views i of −log(exp(s_ij / τ) / Σ_{k ≠ i} exp(s_ik / τ)), s being the cosine
    and j the other view of the same image; ``one`` and ``other`` are (B, P).
    """
    with torch.autocast(one.device.type, enabled=False):
        both = F.normalize(torch.cat([one, other]).float(), dim=1)
        alike = both @ both.T / temperature
        itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
        partner = torch.arange(len(both), device=both.device).roll(len(one))
        return F.cross_entropy(alike.masked_fill(itself, -torch.inf), partner)
