"""Hierarchical variational autoencoder whose high level makes an image of its own; with one level
or one image, its ablations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.models.vae import kl_to_standard_normal, posterior_sample
from aberra.nets.unified import conv
from aberra.nets.zimmerer import inner
from aberra.options import Dims, Edge, NotNegative, Positive, Width, WidthOrNone, configured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aberra.batch import Batch

    Pick = Callable[[int, Tensor, Tensor], Tensor]
    """A code of a level, 0 the high and 1 the low one, of its posterior's mean and log-variance."""


class PchVAE(nn.Module):
    """A blurred image of a code of much context, and beside it, of a code of little context, what
    that lacks.

    Zimmerer, Petersen, Maier-Hein 2019 (arXiv 1911.12161); Zimmerer's thesis (Heidelberg 2022), eq.
    3.24. The high path f₁, g₁ halves and doubles the image four times, the low path f₂, g₂ twice;
    f₁ and f₂ share their first half, and g₂ sees both codes, as does the posterior of z₂:

        x̂ = g₁(z₁) + g₂(z₁, z₂),  z₁ ~ q(z₁|x), z₂ ~ q(z₂|x, z₁)

        L = (λ₁‖x − g₁(z₁)‖₁ + ‖x − x̂‖₁ + λ₃‖g₁(f₁(g₂(z₁, z₂)))‖₁) / c
            + KL(q(z₁|x) ‖ N(0, I)) + KL(q(z₂|x, z₁) ‖ N(0, I))

    summed over pixels and codes, mean over the batch; ‖x − x̂‖₁ / c is that of a Laplace output. The
    third term empties the low path's image of all that the high path could see in it. In use the
    means are decoded.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        width: filters of the first of four stages: 16, 32, 64, 256.
        high: numbers of z₁ a location, a sixteenth of the edge; 0 is no high path ("Low VAE").
        low: numbers of z₂ a location, a quarter of the edge; 0 is no low path ("High VAE").
        separate: the high path has an image of its own. Without, x̂ = g₂(z₁, z₂) and the terms of
            λ₁ and λ₃ fall away ("chVAE", a conditional hierarchical VAE).
        high_weight: λ₁, by default 1; only of two paths with separate images.
        zero_weight: λ₃, by default 1; the same.
        scale: c, in normalised intensities.

    Raises:
        ConfigError: an edge that is not divisible by 16, no path, or an option that does nothing
            with these paths.

    665,556 parameters at any size with one channel in 2-D.

    Deviation: the thesis gives no norms, weights or widths: ℓ1, ones, a scale at which the low level
    is used (of about the error that is left; at 0.1 it hardly is), and the stages of the group's VAE
    (:mod:`aberra.nets.zimmerer`); g₁ and g₂ share the way up to a quarter of the edge. Weights are
    relative to that of x̂, the thesis' λ₂; its λ₄ and λ₅, of the KL terms, are one, as in the ELBO.
    f₁ in the third term is the posterior's mean.

    Examples:
        >>> import torch
        >>> from aberra.models.pchvae import PchVAE
        >>> model = PchVAE(channels=1, size=(32, 32), width=2).eval()
        >>> x = torch.rand(2, 1, 32, 32)
        >>> high, low = model.parts(x)
        >>> torch.equal(high + low, model.reconstruct(x))
        True
    """

    name = "pchvae"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        width: Width = 16,
        high: WidthOrNone = 16,
        low: WidthOrNone = 1,
        separate: bool = True,
        high_weight: NotNegative | None = None,
        zero_weight: NotNegative | None = None,
        scale: Positive = 0.03,
    ) -> None:
        super().__init__()
        inner(size)
        if not high and not low:
            raise ConfigError("model.high=0 and model.low=0: no code is left; one of them must be 1 or more")
        self.high, self.low = high, low
        self.separate = separate and bool(high and low)
        if not separate and not (high and low):
            raise ConfigError("model.separate=false: does nothing with one path; leave it out")
        for option, given in (("high_weight", high_weight), ("zero_weight", zero_weight)):
            if given is not None and not self.separate:
                raise ConfigError(
                    f"model.{option}={given:g}: does nothing without two paths of separate images; leave it out"
                )
        self.high_weight = 1.0 if high_weight is None else high_weight
        self.zero_weight = 1.0 if zero_weight is None else zero_weight
        self.scale = scale
        first, middle, third, last = (each * width for each in (1, 2, 4, 16))
        risen = middle if high else 0
        self.shallow = _down(dims, channels, first, middle)
        if high:
            self.deep = nn.Sequential(_down(dims, middle, third, last), conv(dims)(last, 2 * high, 1))
            self.rise = nn.Sequential(
                conv(dims)(high, last, 1), nn.LeakyReLU(), _up(dims, last, third, middle), nn.LeakyReLU()
            )
        if low:
            self.near = nn.Sequential(_mix(dims, middle + risen, middle), conv(dims)(middle, 2 * low, 1))
            self.low_image = _paint(dims, risen + low, middle, first, channels)
        if self.separate or not low:
            self.high_image = _paint(dims, risen, middle, first, channels)

    def code(self, x: Tensor) -> Tensor:
        """The posterior means of both levels, the high one's first: (B, C, S) to (B, K)."""
        means: list[Tensor] = []

        def keep(level: int, mean: Tensor, log_variance: Tensor) -> Tensor:  # noqa: ARG001
            means.append(mean.flatten(1))
            return mean

        self._through(x, keep)
        return torch.cat(means, dim=1)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The high and the low path's images, whose sum is the reconstruction: (B, C, S) each; zero
        where there is none.
        """
        found = self._through(x, _mean)
        return found.high, found.low

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the posterior means: (B, C, S) to (B, C, S)."""
        return self._through(x, _mean).whole

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Decode ``count`` samples of both levels: (B, C, S) each, the same noise for every image of
        the batch.
        """
        for draw in range(count):
            yield self._through(x, partial(_sample, draw)).whole

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(x|z) at the posterior means, without its constant, and the sum of both KL terms,
        each (B,).
        """
        found = self._through(x, _mean)
        return self._size(x - found.whole), found.kl

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Equation 3.24, one sample an image. The mask is not used."""
        x = batch.x

        def sample(level: int, mean: Tensor, log_variance: Tensor) -> Tensor:  # noqa: ARG001
            return posterior_sample(mean, log_variance, batch.generator)

        found = self._through(x, sample)
        reconstruction, kl = self._size(x - found.whole).mean(), found.kl.mean()
        losses = {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
        if self.separate:
            high = self._size(x - found.high).mean()
            zero = self._size(self._seen_from_above(found.low)).mean()
            losses["loss"] = losses["loss"] + self.high_weight * high + self.zero_weight * zero
            losses |= {"high": high, "zero": zero}
        return losses

    def _through(self, x: Tensor, pick: Pick) -> _Passed:
        near = self.shallow(x)
        risen: list[Tensor] = []  # what the low path is told of z₁
        kl, nothing = x.new_zeros(len(x)), torch.zeros_like(x)
        high = low = nothing
        if self.high:
            mean, log_variance = self.deep(near).chunk(2, dim=1)
            kl = kl + kl_to_standard_normal(mean, log_variance)
            risen = [self.rise(pick(0, mean, log_variance))]
            if self.separate or not self.low:
                high = self.high_image(risen[0])
        if self.low:
            mean, log_variance = self.near(torch.cat([near, *risen], dim=1)).chunk(2, dim=1)
            kl = kl + kl_to_standard_normal(mean, log_variance)
            low = self.low_image(torch.cat([*risen, pick(1, mean, log_variance)], dim=1))
        return _Passed(high, low, kl)

    def _seen_from_above(self, x: Tensor) -> Tensor:
        """g₁(f₁(x)) at the posterior mean: (B, C, S) to (B, C, S)."""
        mean, _ = self.deep(self.shallow(x)).chunk(2, dim=1)
        found: Tensor = self.high_image(self.rise(mean))
        return found

    def _size(self, x: Tensor) -> Tensor:
        """ℓ1 norm over c, (B, C, S) to (B,)."""
        return x.abs().flatten(1).sum(dim=1) / self.scale


class _Passed(NamedTuple):
    """Images (B, C, S) of both paths, zero where there is none, and the sum of the KL terms, (B,)."""

    high: Tensor
    low: Tensor
    kl: Tensor

    @property
    def whole(self) -> Tensor:
        return self.high + self.low


def _mean(level: int, mean: Tensor, log_variance: Tensor) -> Tensor:  # noqa: ARG001
    return mean


def _sample(draw: int, level: int, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw a code; each level has numbers of its own, since noise of one number begins alike in any
    shape.
    """
    noise = shared("gaussian", 2 * draw + level, mean)
    return mean + noise * torch.exp(0.5 * log_variance)


def _down(dims: int, *filters: int) -> nn.Sequential:
    """Convolutions 4 with stride 2 and LeakyReLU behind each."""
    layers: list[nn.Module] = []
    for before, after in pairwise(filters):
        layers += [conv(dims)(before, after, 4, stride=2, padding=1), nn.LeakyReLU()]
    return nn.Sequential(*layers)


def _up(dims: int, *filters: int) -> nn.Sequential:
    """Transposed convolutions 4 with stride 2 and LeakyReLU between them."""
    up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    layers: list[nn.Module] = []
    for before, after in pairwise(filters):
        layers += [up(before, after, 4, stride=2, padding=1), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


def _mix(dims: int, before: int, after: int) -> nn.Sequential:
    """Convolution 3 and LeakyReLU."""
    return nn.Sequential(conv(dims)(before, after, 3, padding=1), nn.LeakyReLU())


def _paint(dims: int, before: int, *filters: int) -> nn.Sequential:
    """From a quarter of the edge to the image."""
    return nn.Sequential(_mix(dims, before, filters[0]), _up(dims, *filters))
