"""Scale-space autoencoder: one light autoencoder a band of the Laplacian pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.pyramid import bands, collapse, gaussian_pyramid
from aberra.nets.unified import conv, normaliser
from aberra.options import Dims, Edge, Levels, Width, configured

if TYPE_CHECKING:
    from aberra.batch import Batch

SLOPE = 0.2
"""LeakyReLU's negative slope."""

INNER = 4
"""The smallest edge of a band's innermost map ends at 4 to 7."""


class ScaleSpaceAE(nn.Module):
    """Compresses the frequency bands of a scan one by one, so that detail need not pass through one
    narrow code.

    Baur, Wiestler, Albarqouni, Navab 2020, "Scale-Space Autoencoders" (MICCAI): with a Gaussian g
    of 5 taps an axis,

        I₀ = x,   Iₖ₊₁ = ↓2(g ∗ Iₖ),   Hₖ = Iₖ − ↑2(Iₖ₊₁)                       (k < K)
        Î_K = f_K(I_K),   Îₖ = ↑2(Îₖ₊₁) + fₖ(Hₖ),   L = Σₖ ‖Iₖ − Îₖ‖₁           (k = 0 … K)

    summed over pixels, mean over the batch. x̂ = Î₀. The levels are compared one by one in the
    score ``multi-scale``.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        levels: K.
        width: filters of a band's first stage, doubled at each stage up to four times as many.
        latent: channels of a band's innermost map, whose smallest edge is 4 to 7; 4·4² = 64 numbers
            a band at 128². What it leaves of the coarse bands decides: with as many numbers as
            pixels a lesion passes.

    Raises:
        ConfigError: fewer than one level, or a size that cannot be halved so often.

    1,522,708 parameters at 128², one channel.

    Deviation: ℓ1 and the layers of a band (convolutions 3 with stride 2, batch norm, LeakyReLU, and
    their mirror image) are ours; what we could read of the original states neither. The low band is
    compressed like the others.
    """

    name = "scale-space-ae"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        levels: Levels = 3,
        width: Width = 32,
        latent: Width = 4,
    ) -> None:
        super().__init__()
        self.levels = levels
        # each band's map is halved once more at least
        depths = [max(1, int(log2(max(1, min(size) / 2**level / INNER)))) for level in range(levels + 1)]
        halvings = max(level + depth for level, depth in enumerate(depths))
        if any(edge % 2**halvings for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with model.levels={levels}: every edge must be divisible by {2**halvings}"
            )
        self.codes = [
            3 * depth for depth in depths
        ]  # layer of a band that makes its code, behind three a stage
        self.bands = nn.ModuleList(
            _band(channels=channels, dims=dims, depth=depth, width=width, latent=latent) for depth in depths
        )

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        return self.reconstruct_levels(x)[0][1]

    def reconstruct_levels(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each level Iₖ with its healthy version Îₖ, finest first: (B, C, S / 2ᵏ)."""
        images = gaussian_pyramid(x, self.levels)
        parts = [band(part) for band, part in zip(self.bands, bands(images), strict=True)]
        return list(zip(images, collapse(parts), strict=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error of all levels; ``reconstruction`` is that of the finest.

        The mask is not used.
        """
        x = batch.x
        errors = [(image - restored).abs().sum() / len(x) for image, restored in self.reconstruct_levels(x)]
        return {"loss": sum(errors[1:], errors[0]), "reconstruction": errors[0]}


def _band(*, channels: int, dims: int, depth: int, width: int, latent: int) -> nn.Sequential:
    """A light autoencoder with a spatial code: (B, C, S') to (B, C, S'), linear."""
    up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    filters = [min(4 * width, width * 2**stage) for stage in range(depth)]
    down: list[nn.Module] = []
    for before, after in zip([channels, *filters], filters, strict=False):
        down += [
            conv(dims)(before, after, 3, stride=2, padding=1),
            normaliser("batch", dims, after),
            nn.LeakyReLU(SLOPE),
        ]
    code = [conv(dims)(filters[-1], latent, 1), conv(dims)(latent, filters[-1], 1)]
    restored: list[nn.Module] = []
    for before, after in zip(filters[::-1], [*filters[-2::-1], width], strict=True):
        restored += [
            up(before, after, 3, stride=2, padding=1, output_padding=1),
            normaliser("batch", dims, after),
            nn.LeakyReLU(SLOPE),
        ]
    return nn.Sequential(*down, *code, *restored, conv(dims)(width, channels, 1))
