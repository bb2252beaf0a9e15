"""Denoising autoencoder with coarse noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn

from aberra.diffusion.noise import coarse
from aberra.nets.networks import Choice, Skips, network_for
from aberra.options import Dims, Edge, NotNegative, Width, configured

if TYPE_CHECKING:
    from torch import Generator

    from aberra.batch import Batch


class DAE(nn.Module):
    """A U-Net that learns to take lesion-sized noise out of healthy images; at test time it takes
    the lesion out.

    Kascenas, Pugeault, O'Neil 2022 (MIDL, PMLR 172): the noise is drawn on a coarse grid, upsampled
    bilinearly, rolled by a random offset and kept to the foreground; target is the clean image, the
    loss the mean squared error in the foreground. No noise at test time.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: ``unet`` or ``unet-added``.
        noise_std: σ of the noise in normalised intensities; the paper has 0.2.
        predicts: ``noise`` (the network's output is subtracted from its input) or ``image`` (the
            paper: it is the clean image).
        noise_cells: cells of the noise grid along the longest edge; the paper has 16 at 128 pixels.

    Raises:
        ConfigError: a size that cannot be halved so often, another network, or an unknown
            ``predicts``.

    Deviation: predicts the noise by default. What the network does not understand then stays as it
    is instead of being blurred or brightened, which matters after a short training and on foreign
    scanners. SiLU instead of the paper's activation.
    """

    name = "dae"
    NETWORK: ClassVar = {"name": "unet"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        noise_std: NotNegative = 0.2,
        noise_cells: Edge = 16,
        predicts: Literal["noise", "image"] = "noise",
    ) -> None:
        super().__init__()
        self.predicts = predicts
        self.noise_std = noise_std
        self.noise_cells = noise_cells
        self.net = network_for(self, network, Skips, channels=channels, dims=dims, size=size).unet()

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S); no noise is added."""
        out: Tensor = self.net(x)
        return x - out if self.predicts == "noise" else out

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the denoised image in the foreground."""
        x, mask = batch.x, batch.mask
        noisy = x + self.noise(x, batch.generator) * mask
        error = ((self.reconstruct(noisy) - x) ** 2 * mask).sum() / (mask.sum() * x.shape[1]).clamp(min=1)
        return {"loss": error}

    def noise(self, x: Tensor, generator: Generator) -> Tensor:
        """Coarse Gaussian noise of ``x``'s shape (B, C, S), each image rolled by its own offset."""
        return self.noise_std * coarse(x.shape, generator, cells=self.noise_cells)
