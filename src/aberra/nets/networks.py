"""Networks by name: what a table ``[model.network]`` chooses, and what a model asks of it.

A network is a recipe for images of one shape; the model asks it for its parts. Which models take
which is decided by three families:

- :class:`VectorCodes` and :class:`MapCodes`: an encoder and a decoder around a code, which is a
  vector (B, K) or a map (B, K, S'),
- :class:`Skips`: an image of an image, by a U-Net,
- :class:`DiffusionUNet`: a U-Net that is told a step, and its encoder half.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence  # noqa: TC003 - options are checked against fields, at run time
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal, TypeVar

from torch import nn

from aberra.errors import ConfigError
from aberra.nets import cradl, diffusion_unet, residual, unet, unified, venkatakrishnan, you, zimmerer
from aberra.nets.unified import Reader
from aberra.options import Edge, Few, Levels, ShareBelowOne, Width  # noqa: TC001 - the same
from aberra.registry import build, lookup, names, network_of

N = TypeVar("N", bound="Network")
Choice = str | dict[str, Any] | None
"""What a model is given: a name, a table of ``name`` and options, or nothing, which is the model's
own ``NETWORK``."""


def network_for(model: nn.Module, choice: Choice, family: type[N], **shape: Any) -> N:
    """The network that a model is to have.

    Args:
        model: its class says in ``NETWORK`` what it has by default.
        choice: another network, or changes to the default one.
        family: what the model can work with.
        shape: ``channels``, ``dims`` and ``size``.

    Raises:
        ConfigError: a network of another family, unknown, or with options that cannot be.
    """
    config = network_of(type(model), choice)
    network = build("networks", config, **shape)
    if not isinstance(network, family):
        able = [name for name in sorted(names("networks")) if issubclass(lookup("networks", name), family)]
        raise ConfigError(
            f"model.network={config['name']}: {type(model).__name__} takes {' or '.join(able)} only"
        )
    return network


@dataclass(frozen=True, kw_only=True)
class Network(ABC):
    """For images (B, C, S): ``channels`` C, ``dims`` 2 or 3 and ``size`` S, and the options of each
    network.
    """

    name: ClassVar[str]
    channels: int
    dims: int
    size: Sequence[int]

    @property
    def shape(self) -> dict[str, Any]:
        """Arguments of the parts."""
        return {"channels": self.channels, "dims": self.dims, "size": self.size}


class Codes(Network):
    """An encoder and a decoder; what lies between the two is the model's."""

    @property
    def dropout(self) -> float:
        """Share of units that are dropped around the code; 0 where the network has none."""
        return 0.0

    @property
    def latent(self) -> int:
        """Numbers of a code, or of a location, where the model is not told."""
        return 128

    @abstractmethod
    def encoder(self) -> Reader:
        """(B, C, S) to features, (B, F) or (B, F, S'); a :meth:`layer` behind it makes the code."""

    @abstractmethod
    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:
        """Codes of ``latent`` numbers, or of so many a location, to (B, C, S); ``norm`` is
        ``batch`` or ``layer`` in networks that leave the choice.
        """

    @abstractmethod
    def layer(self, before: int, after: int) -> nn.Module:
        """A linear layer of features or codes."""

    def heads(self, features: int, latent: int) -> tuple[nn.Module, nn.Module]:
        """Mean and log-variance of a code of ``latent`` numbers, each from the encoder's features."""
        mean, log_variance = (
            nn.Sequential(self.layer(features, latent), nn.Dropout(self.dropout)) for _ in range(2)
        )
        return mean, log_variance

    @abstractmethod
    def critic(self) -> Reader:
        """The body of a critic, (B, C, S) to (B, F), without batch norm: a gradient penalty is
        about one image at a time.
        """


class VectorCodes(Codes):
    """The code is a vector."""

    def layer(self, before: int, after: int) -> nn.Module:
        """(B, F) to (B, F')."""
        return nn.Linear(before, after)

    def critic(self) -> Reader:
        """(B, C, S) to (B, F): the encoder once more, where it has no batch norm."""
        return self.encoder()


class MapCodes(Codes):
    """The code is a map."""

    @abstractmethod
    def decoder(self, latent: int | None, *, norm: str = "batch") -> nn.Module:
        """As of :class:`Codes`; None reads the encoder's own features."""

    def layer(self, before: int, after: int) -> nn.Module:
        """(B, F, S') to (B, F', S')."""
        return unified.conv(self.dims)(before, after, 1)


@dataclass(frozen=True, kw_only=True)
class Unified(VectorCodes):
    """The comparative study's (:mod:`aberra.nets.unified`), its 8×8 map squeezed to 16 channels and
    flattened.

    Args:
        width: filters of the first stage; the study's 32 gives 32, 64, 128, 128.
        dropout: on the dense layer behind the code, and on the code or its heads where the model
            has it there.
    """

    name = "unified"
    width: Width = 32
    dropout: ShareBelowOne = 0.2

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 16·S')."""
        body = unified.Encoder(**self.shape, width=self.width)
        squeeze = unified.Squeeze(dims=self.dims, filters=body.features, inner=unified.inner_size(self.size))
        return Reader(body, squeeze, features=squeeze.features)

    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:
        """(B, K) to (B, C, S)."""
        filters = unified.widths(self.width, self.size)[-1]
        inner = unified.inner_size(self.size)
        return nn.Sequential(
            unified.Expand(dims=self.dims, filters=filters, inner=inner, latent=latent, dropout=self.dropout),
            unified.Decoder(**self.shape, width=self.width, filters=filters, norm=norm),
        )

    def critic(self) -> Reader:
        """(B, C, S) to (B, F·S'), with layer norm and not squeezed."""
        return unified.critic(**self.shape, width=self.width)


@dataclass(frozen=True, kw_only=True)
class UnifiedSpatial(MapCodes):
    """The comparative study's with a spatial code, 8×8 locations at 128²
    (:mod:`aberra.nets.unified`).

    Args:
        width: filters of the first stage; the study's 32 gives 32, 64, 128, 128.
        dropout: on the code or its heads.
    """

    name = "unified-spatial"
    width: Width = 32
    dropout: ShareBelowOne = 0.0

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 4·width, S')."""
        return unified.Encoder(**self.shape, width=self.width)

    def decoder(self, latent: int | None, *, norm: str = "batch") -> nn.Module:
        """(B, K, S') to (B, C, S)."""
        filters = unified.widths(self.width, self.size)[-1]
        enters = None if latent is None else self.layer(latent, filters)
        body = unified.Decoder(**self.shape, width=self.width, filters=filters, norm=norm)
        return body if enters is None else nn.Sequential(enters, body)

    def critic(self) -> Reader:
        """(B, C, S) to (B, F·S'), with layer norm."""
        return unified.critic(**self.shape, width=self.width)


@dataclass(frozen=True, kw_only=True)
class Zimmerer2018(VectorCodes):
    """Zimmerer's of the ceVAE, as the comparative study ran it for VAE and ceVAE
    (:mod:`aberra.nets.zimmerer`).

    Args:
        width: filters of the first of four stages, each of which has four times as many: 16, 64,
            256, 1024.
        coordinates: every convolution is told where it is (CoordConv), as published; the study left
            it out.
    """

    name = "zimmerer2018"
    width: Width = 16
    coordinates: bool = False

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 64·width·S / 16)."""
        return zimmerer.Encoder(**self._options)

    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:  # noqa: ARG002 - it has none
        """(B, K) to (B, C, S)."""
        return nn.Sequential(zimmerer.Decoder(**self._options, latent=latent, last=True))

    @property
    def _options(self) -> dict[str, Any]:
        filters = [self.width * 4**stage for stage in range(zimmerer.STAGES)]
        return self.shape | {"filters": filters, "coordinates": self.coordinates}


@dataclass(frozen=True, kw_only=True)
class Zimmerer2019(VectorCodes):
    """Zimmerer's of the VAE (:mod:`aberra.nets.zimmerer`), without offsets; its code has 256
    numbers.

    Args:
        width: filters of the first of four stages: 16, 32, 64, 256.
    """

    name = "zimmerer2019"
    width: Width = 16

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 16·width·S / 16)."""
        return zimmerer.Encoder(**self._options)

    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:  # noqa: ARG002 - it has none
        """(B, K) to (B, C, S)."""
        return nn.Sequential(zimmerer.Decoder(**self._options, latent=latent, last=False))

    def layer(self, before: int, after: int) -> nn.Module:
        """(B, F) to (B, F')."""
        return nn.Linear(before, after, bias=False)

    @property
    def _options(self) -> dict[str, Any]:
        return self.shape | {"filters": [each * self.width for each in (1, 2, 4, 16)], "bias": False}


@dataclass(frozen=True, kw_only=True)
class MLP(VectorCodes):
    """Linear layers and ReLU on all pixels at once, three from image to code and three back: the
    VAE of small images in Zimmerer 2019 (arXiv 1907.02796), whose code has 20 numbers.

    Args:
        width: units of the hidden layers; published 400.

    With ``vae`` and a code of 20, one channel at 28²: 973,624 parameters.
    """

    name = "mlp"
    width: Width = 400

    def encoder(self) -> Reader:
        """(B, C, S) to (B, width)."""
        pixels = self.channels * prod(self.size)
        return Reader(nn.Flatten(), *self._hidden(pixels), features=self.width)

    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:  # noqa: ARG002 - it has none
        """(B, K) to (B, C, S)."""
        shape = (self.channels, *self.size)
        return nn.Sequential(
            *self._hidden(latent), nn.Linear(self.width, prod(shape)), nn.Unflatten(1, shape)
        )

    def _hidden(self, before: int) -> list[nn.Module]:
        return [nn.Linear(before, self.width), nn.ReLU(), nn.Linear(self.width, self.width), nn.ReLU()]


@dataclass(frozen=True, kw_only=True)
class Residual(VectorCodes):
    """The residual network of Chen's AAE and Schlegl's f-AnoGAN (:mod:`aberra.nets.residual`).

    Args:
        width: filters of the first stage, doubled at each of the next; published 64.
    """

    name = "residual"
    width: Width = 64

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 8·width·S / 8)."""
        body = residual.Encoder(**self.shape, width=self.width)
        return Reader(body, nn.Flatten(), features=body.features)

    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:  # noqa: ARG002 - layer norm always
        """(B, K) to (B, C, S)."""
        return nn.Sequential(residual.Decoder(**self.shape, width=self.width, latent=latent))


@dataclass(frozen=True, kw_only=True)
class Cradl(VectorCodes):
    """CRADL's encoder (:mod:`aberra.nets.cradl`) and a decoder that mirrors it; its code has 512
    numbers.

    Args:
        width: filters of the first stage, doubled at each of the next; published 64.
    """

    name = "cradl"
    width: Width = 64

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 16·width·S / 32)."""
        return cradl.Encoder(**self.shape, width=self.width)

    def decoder(self, latent: int, *, norm: str = "batch") -> nn.Module:
        """(B, K) to (B, C, S)."""
        return nn.Sequential(cradl.Decoder(**self.shape, width=self.width, latent=latent, norm=norm))

    def critic(self) -> Reader:
        """(B, C, S) to (B, F·S'), with layer norm."""
        return cradl.Encoder(**self.shape, width=self.width, norm="layer")


@dataclass(frozen=True, kw_only=True)
class You(MapCodes):
    """You's of the Gaussian mixture VAE (:mod:`aberra.nets.you`): a code of a quarter of the
    image's edge.

    Args:
        width: filters of every layer; published 64.
    """

    name = "you"
    width: Width = you.WIDTH

    def encoder(self) -> Reader:
        """(B, C, S) to (B, width, S / 4)."""
        return you.Encoder(**self.shape, width=self.width)

    def decoder(self, latent: int | None, *, norm: str = "batch") -> nn.Module:  # noqa: ARG002 - it has none
        """(B, K, S / 4) to (B, C, S)."""
        latent = self.width if latent is None else latent
        return you.Decoder(channels=self.channels, dims=self.dims, width=self.width, latent=latent)

    def critic(self) -> Reader:
        """(B, C, S) to (B, width·S / 4)."""
        body = self.encoder()
        return Reader(body, nn.Flatten(), features=body.features * prod(edge // 4 for edge in self.size))


@dataclass(frozen=True, kw_only=True)
class Venkatakrishnan(MapCodes):
    """Venkatakrishnan's of context restoration (:mod:`aberra.nets.venkatakrishnan`): a code of 2×2
    locations, whose mean and log-variance are the two halves of what the encoder gives.

    Args:
        width: channels of the first of six blocks, doubled at each of the next; 16 in the thesis,
            so that the encoder gives 512 and a code has half of them.
        output: ``sigmoid`` (for intensities in [0, 1]) or ``linear``.

    4,542,369 parameters of ``vae`` with a code of 256, one channel at 128².
    """

    name = "venkatakrishnan"
    width: Width = 16
    output: Literal["sigmoid", "linear"] = "sigmoid"

    @property
    def latent(self) -> int:
        """Half of what the encoder gives."""
        return venkatakrishnan.DEEPEST * self.width // 2

    def encoder(self) -> Reader:
        """(B, C, S) to (B, 32·width, S')."""
        return venkatakrishnan.Encoder(**self.shape, width=self.width)

    def decoder(self, latent: int | None, *, norm: str = "batch") -> nn.Module:
        """(B, K, S') to (B, C, S)."""
        latent = venkatakrishnan.DEEPEST * self.width if latent is None else latent
        bounded = self.output == "sigmoid"
        return venkatakrishnan.Decoder(
            **self.shape, width=self.width, latent=latent, bounded=bounded, norm=norm
        )

    def heads(self, features: int, latent: int) -> tuple[nn.Module, nn.Module]:
        """The halves of the features.

        Raises:
            ConfigError: ``latent`` is not half of them.
        """
        if 2 * latent != features:
            raise ConfigError(
                f"model.latent={latent}: network {self.name} splits its {features} features into mean and "
                f"log-variance; expected {features // 2}, or another model.network.width"
            )
        return venkatakrishnan.Half(0), venkatakrishnan.Half(1)

    def critic(self) -> Reader:
        """(B, C, S) to (B, F·S'), with layer norm."""
        return venkatakrishnan.critic(**self.shape, width=self.width)


class Skips(Network):
    """A U-Net whose skips pass all detail on: an image of an image."""

    @abstractmethod
    def unet(self, out: int | None = None) -> unet.UNet | unet.AdditiveUNet:
        """(B, C, S) to (B, F, S), F ``out`` or, without, C."""


@dataclass(frozen=True, kw_only=True)
class UNet(Skips):
    """A U-Net whose skips are concatenated (:class:`aberra.nets.unet.UNet`).

    Args:
        width: filters of the first level, doubled at each below; Kascenas et al. 2022 have 64.
        depth: levels below the first; they have 4.
    """

    name = "unet"
    width: Width = 64
    depth: Levels = 4

    def unet(self, out: int | None = None) -> unet.UNet:
        """As of :class:`Skips`."""
        return unet.UNet(**self.shape, width=self.width, depth=self.depth, out=out)


@dataclass(frozen=True, kw_only=True)
class AdditiveUNet(Skips):
    """A U-Net whose skips are added (:class:`aberra.nets.unet.AdditiveUNet`), as the shipped
    detectors have it: quick enough for whole brains on a CPU.

    Args:
        widths: filters of each level, finest first.
    """

    name = "unet-added"
    widths: Sequence[Width] = (8, 24, 48, 96, 128)

    def unet(self, out: int | None = None) -> unet.AdditiveUNet:
        """As of :class:`Skips`."""
        out = self.channels if out is None else out
        return unet.AdditiveUNet(**self.shape, widths=self.widths, out=out)


@dataclass(frozen=True, kw_only=True)
class DiffusionUNet(Network):
    """The U-Net of the diffusion methods (:mod:`aberra.nets.diffusion_unet`).

    Args:
        width: filters of the first level; Wolleb 2022 has 128.
        multipliers: of the width, one a level; (1, 1, 2, 2, 4, 4) at 256².
        blocks: residual blocks a level; 2.
        attention: attend at the levels whose longest edge is one of these; 16. The middle always
            does.

    Deviation: small by default, so that it trains on a CPU.
    """

    name = "diffusion-unet"
    width: Width = 32
    multipliers: Sequence[Few] = (1, 2, 2, 4)
    blocks: Levels = 1
    attention: Sequence[Edge] = (8,)

    def unet(self, out: int, *, conditions: int = 0) -> diffusion_unet.DiffusionUNet:
        """(B, C, S), steps (B,) and ``conditions`` numbers of a person to (B, ``out``, S)."""
        return diffusion_unet.DiffusionUNet(**self._options, out=out, conditions=conditions)

    def encoder(self, out: int) -> diffusion_unet.DiffusionEncoder:
        """(B, C, S) and steps (B,) to (B, ``out``)."""
        return diffusion_unet.DiffusionEncoder(**self._options, out=out)

    @property
    def _options(self) -> dict[str, Any]:
        return self.shape | {
            "width": self.width,
            "multipliers": tuple(self.multipliers),
            "blocks": self.blocks,
            "attention": tuple(self.attention),
        }
