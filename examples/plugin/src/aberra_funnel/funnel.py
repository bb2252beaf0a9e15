"""An autoencoder of three halvings, without anything that does not have to be there."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aberra.options import Dims, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


class Funnel(nn.Module):
    """Squeezes an image (B, C, S) into ``code`` features at an eighth of its edge, and draws it
    again.

    L = mean ``|x − x̂|`` over the foreground. Edges of the input must be multiples of 8.

    Args:
        channels: C.
        dims: 2 (slices) or 3 (volumes).
        width: filters of the first stage.
        code: features that remain.
    """

    @configured("model")
    def __init__(self, *, channels: Width, dims: Dims = 2, width: Width = 16, code: Width = 32) -> None:
        super().__init__()
        conv, up = (nn.Conv2d, nn.ConvTranspose2d) if dims == 2 else (nn.Conv3d, nn.ConvTranspose3d)
        filters = [channels, width, 2 * width, code]

        def layers() -> Iterator[nn.Module]:
            for before, after in pairwise(filters):
                yield from (conv(before, after, 4, stride=2, padding=1), nn.SiLU())
            for before, after in pairwise(reversed(filters)):
                yield from (up(before, after, 4, stride=2, padding=1), nn.SiLU())

        self.net = nn.Sequential(*list(layers())[:-1])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a healthy batch: ``x`` (B, C, S), ``mask`` (B, 1, S)."""
        error = (batch.x - self.net(batch.x)).abs() * batch.mask
        return {"loss": error.sum() / batch.mask.sum().clamp(min=1)}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        return self.net(x)  # type: ignore[no-any-return]
