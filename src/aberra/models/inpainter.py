"""A U-Net that fills in boxes, and is held to the edges of what was there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from aberra.nets.edges import soft_canny
from aberra.nets.masking import ContextNoise
from aberra.nets.networks import Choice, Skips, network_for
from aberra.options import Dims, Edge, Few, NotNegative, Positive, ShareAboveZero, Sigma, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


class Inpainter(nn.Module):
    """Fills in what is hidden, and so knows what belongs there: x̂ is the scan as its surroundings
    foretell it, box by box.

    NUDT's entry of the MOOD challenge 2020 (Zimmerer et al. 2022, IEEE TMI 41): a U-Net that
    inpaints, with ::

        L = mean (x − x̂)² + λ·mean |E(x) − E(x̂)|

    in the foreground, x̂ being of the image with one to ``boxes`` boxes set to zero
    (:class:`aberra.nets.masking.ContextNoise`) and E its edges
    (:func:`aberra.nets.edges.soft_canny`).

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: ``unet`` or ``unet-added``.
        boxes: most boxes an image in training.
        box: edge of a box in use, and the greatest in training, over the edge of the image; the
            least is half of it.
        edges: λ.
        sigma: σ of the edges' Gaussian in pixels.
        threshold: t of the edges, in prepared intensities a pixel.

    Raises:
        ConfigError: a size that cannot be halved so often, another network, or boxes that cannot be
            drawn.

    Deviation: skips let a U-Net that sees everything copy everything, and how the entry kept it
    from that is not published. In use every pixel is hidden once: the image is tiled with boxes,
    of which every second one along each axis is hidden at a time, in 2ᵈⁱᵐˢ calls of the network
    (after Zavrtanik, Kristan, Skočaj 2021, RIAD, Pattern Recognition 112). Canny's edges are soft.

    Examples:
        >>> import torch
        >>> from aberra.models.inpainter import Inpainter
        >>> small = {"width": 4, "depth": 2}
        >>> model = Inpainter(channels=1, size=(16, 16), network=small, box=0.25).eval()
        >>> model.reconstruct(torch.rand(2, 1, 16, 16)).shape
        torch.Size([2, 1, 16, 16])
        >>> sum(int(hidden.sum()) for hidden in model.hidden((16, 16)))  # each pixel once
        256
    """

    name = "inpainter"
    NETWORK: ClassVar = {"name": "unet"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        boxes: Few = 4,
        box: ShareAboveZero = 0.125,
        edges: NotNegative = 0.1,
        sigma: Sigma = 1.0,
        threshold: Positive = 0.1,
    ) -> None:
        super().__init__()
        self.box = box
        self.edges = edges
        self.sigma = sigma
        self.threshold = threshold
        self.noise = ContextNoise(boxes=boxes, smallest=box / 2, largest=box, place="foreground", fill="zero")
        self.net = network_for(self, network, Skips, channels=channels, dims=dims, size=size).unet()

    def reconstruct(self, x: Tensor) -> Tensor:
        """Every box of the image as the rest foretells it, (B, C, S) to (B, C, S)."""
        found = torch.zeros_like(x)
        for hidden in self.hidden(x.shape[2:]):
            there = hidden.to(x.device)
            found = torch.where(there, self.net(x.masked_fill(there, 0)).to(x), found)
        return found

    def hidden(self, size: Sequence[int]) -> Iterator[Tensor]:
        """What is hidden at a time, bool (S): 2ᵈⁱᵐˢ sets of boxes that touch at most at corners."""
        tiles = [torch.arange(length) // max(1, ceil(self.box * length)) % 2 for length in size]
        for turn in product((0, 1), repeat=len(size)):
            along = [tile == odd for tile, odd in zip(tiles, turn, strict=True)]
            yield torch.stack(torch.meshgrid(*along, indexing="ij")).all(dim=0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error and difference of edges in the foreground, of the whole image."""
        x, mask = batch.x, batch.mask
        restored = self.net(self.noise(x, mask, batch.generator))
        error = self._mean((restored - x) ** 2, mask)
        apart = self._mean((self._edges(restored) - self._edges(x)).abs(), mask)
        return {"loss": error + self.edges * apart, "squared": error, "edges": apart}

    def _edges(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # slopes are differences of like numbers
            return soft_canny(x.float(), sigma=self.sigma, threshold=self.threshold)

    @staticmethod
    def _mean(values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask).sum() / (mask.sum() * values.shape[1]).clamp(min=1)
