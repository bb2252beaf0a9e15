"""Networks between an image and a vector, by name: what a model with a dense code is built from.

``unified`` is the comparative study's (:mod:`aberra.nets.unified`). The others are the originals that the study compares it
with: ``zimmerer`` (:mod:`aberra.nets.zimmerer`) and ``residual`` (:mod:`aberra.nets.residual`; Chen, Schlegl).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from aberra.errors import ConfigError, unknown
from aberra.nets import residual, zimmerer
from aberra.nets.unified import Decoder, Encoder, Expand, Squeeze, inner_size, stages

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS = {"unified": 32, "zimmerer": 16, "residual": 64}
"""Filters of the first stage in the publications."""


DROPOUT = 0.2
"""Of the unified network, in the study."""


def dropout_of(wish: float | None, *, there: bool) -> float:
    """Dropout around a code: what is wished for, by default the study's; nothing where the network has none.

    Raises:
        ConfigError: a wish that would do nothing.
    """
    if there:
        return DROPOUT if wish is None else wish
    if wish is not None:
        raise ConfigError(
            f"model.dropout={wish:g}: only the unified network with a dense code has dropout; leave it out"
        )
    return 0.0


class ToVector(nn.Sequential):
    """(B, C, S) to (B, ``features``)."""

    def __init__(self, *layers: nn.Module, features: int) -> None:
        super().__init__(*layers)
        self.features = features


def encoder(
    network: str,
    *,
    channels: int,
    dims: int,
    size: Sequence[int],
    width: int | None = None,
    norm: str = "batch",
) -> ToVector:
    """Build the part that reads an image; linear heads behind it make the code.

    Args:
        network: a name of :data:`WIDTHS`.
        channels: C.
        dims: 2 or 3.
        size: S.
        width: filters of the first stage; None is the publication's.
        norm: ``batch`` or ``layer``, of the unified network (the others have their own).

    Raises:
        ConfigError: unknown network or a size that cannot be halved.
    """
    width = _width(network, width)
    if network == "zimmerer":
        body = zimmerer.Encoder(channels=channels, dims=dims, size=size, width=width)
        return ToVector(body, nn.Flatten(), features=body.features)
    if network == "residual":
        deep = residual.Encoder(channels=channels, dims=dims, size=size, width=width)
        return ToVector(deep, nn.Flatten(), features=deep.features)
    unified = Encoder(channels=channels, dims=dims, size=size, width=width, norm=norm)
    squeeze = Squeeze(dims=dims, filters=unified.filters, inner=inner_size(size))
    return ToVector(unified, squeeze, features=squeeze.features)


def decoder(
    network: str,
    *,
    channels: int,
    dims: int,
    size: Sequence[int],
    latent: int,
    width: int | None = None,
    norm: str = "batch",
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build the part that makes an image of a code: (B, K) to (B, C, S). Arguments as for :func:`encoder`.

    ``dropout`` acts on the dense layer behind the code, in the unified network only.
    """
    width = _width(network, width)
    if network == "zimmerer":
        return nn.Sequential(
            zimmerer.Decoder(channels=channels, dims=dims, size=size, width=width, latent=latent)
        )
    if network == "residual":
        return nn.Sequential(
            residual.Decoder(channels=channels, dims=dims, size=size, width=width, latent=latent)
        )
    filters = min(4 * width, width * 2 ** (stages(size) - 1))
    return nn.Sequential(
        Expand(dims=dims, filters=filters, inner=inner_size(size), latent=latent, dropout=dropout),
        Decoder(channels=channels, dims=dims, size=size, width=width, filters=filters, norm=norm),
    )


def _width(network: str, width: int | None) -> int:
    if network not in WIDTHS:
        raise unknown("network", network, WIDTHS)
    return WIDTHS[network] if width is None else width
