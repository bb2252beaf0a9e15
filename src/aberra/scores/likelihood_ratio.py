"""What of a slice's unlikelihood is not explained by how much there is to see in it."""

from __future__ import annotations

from io import BytesIO
from itertools import chain, islice
from math import log
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from aberra.capabilities import HasBackground, HasElbo
from aberra.errors import ConfigError
from aberra.options import configured
from aberra.restore.healthy import AUTO, Auto
from aberra.scores import Scored
from aberra.scores.term import of_slices, slices_of
from aberra.scores.terms import needs_of, term

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

Against = Literal["complexity", "background"]
Compressor = Literal["png", "jpeg2000", "jpeg"]
WRITERS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 9},
    "jpeg2000": {"format": "JPEG2000"},  # lossless unless told otherwise
    "jpeg": {"format": "JPEG", "quality": 95},
}
FIRST = 4
"""Volumes in which the range of intensities is looked for."""


class LikelihoodRatio:
    """−log p(x), minus what any model would have to say of x; constant in each slice, as of ``term``.

    Smooth images are likely to every model, busy ones to none, whatever is in them. Two ways to
    take that away:

    ``complexity``: −log₂ p(x) / n − bits(x) / n, n the number of values, bits those of a compressed
    image: Serrà, Álvarez, Gómez, Slizovskaia, Núñez, Luque 2020, *Input Complexity and
    Out-of-distribution Detection with Likelihood-based Generative Models* (arXiv 1909.11480), eq. 1.

    ``background``: log p_background(x) − log p(x), of a model that has learnt a second model on
    images with noise: Ren et al. 2019, *Likelihood Ratios for Out-of-Distribution Detection* (arXiv
    1906.02845), eq. 3.

    Args:
        against: which; ``background`` needs a model with one (``with-background``).
        of: −log p: ``elbo``, its bound, or ``nll``; ``background`` has the bound only.
        compressor: ``png`` and ``jpeg2000`` are lossless, as in the paper; ``jpeg`` (quality 95) is
            no code of the image itself.
        window: lowest and highest intensity of the 8 bits that are compressed; ``auto``: the 0.1
            and 99.9 % quantiles of healthy validation cases.
        level: what counts as 0, since a map is not negative; ``auto``: the lowest value of a
            healthy validation slice.

    Raises:
        ConfigError: unknown option, a window that is none, or ``nll`` against ``background``.

    Deviation: −log p of a VAE drops its constants and has a fixed scale, so a slice's bits count
    for more or less against it than they would for a model of the pixels' own distribution
    (``glow``). One compressor; the paper takes the best of three.
    """

    name = "likelihood-ratio"

    @configured("score")
    def __init__(
        self,
        *,
        against: Against = "complexity",
        of: Literal["elbo", "nll"] = "elbo",
        compressor: Compressor = "png",
        window: tuple[float, float] | Auto = AUTO,
        level: float | Auto = AUTO,
    ) -> None:
        if against == "background" and of != "elbo":
            raise ConfigError(f"score.of={of}: score.against='background' compares bounds, elbo")
        self.against = against
        self.of = of
        self.compressor = compressor
        self.window = None if isinstance(window, str) else tuple(window)
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ConfigError(f"score.window={list(self.window)}: expected a lower and a higher intensity")
        self.level = None if isinstance(level, str) else level
        self.needs = (HasElbo, HasBackground) if against == "background" else needs_of(of)

    @property
    def ready(self) -> bool:
        """Whether level and, where images are compressed, window are known."""
        return self.level is not None and (self.against == "background" or self.window is not None)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        if not self.ready or self.level is None:
            return Scored(x.new_zeros(mask.shape))
        found = of_slices(lambda batch, _: self.ratio(model, batch, self.window), x, mask, run)
        return Scored((found - self.level).clamp(min=0))

    def ratio(self, model: Any, x: Tensor, window: Sequence[float] | None) -> Tensor:
        """The ratio of a batch (B, C, S), (B,): bits a value against complexity, else nats."""
        with torch.autocast(x.device.type, enabled=False):
            own = term(model, x, self.of)
            if self.against == "background":
                other, divergence = model.background_terms(x)
                return own - (other + divergence)  # type: ignore[no-any-return]
            bits = compressed_bits(x, window or (0.0, 1.0), self.compressor)
            return (own / log(2) - bits) / x[0].numel()

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Find window and level on prepared healthy volumes where they are ``auto``."""
        if self.ready:
            return {}
        window, found = self.window, dict[str, Any]()
        if window is None and self.against == "complexity":
            volumes = iter(volumes)
            first = list(islice(volumes, FIRST))
            if not first:
                return {}
            inside = np.concatenate([volume.data[:, volume.judged].ravel() for volume in first])
            low, high = (float(each) for each in np.quantile(inside, [0.001, 0.999]))
            window = (low, max(high, low + 1e-6))
            found["window"] = [*window]
            volumes = chain(first, volumes)
        if self.level is not None:
            return found
        values = slices_of(lambda batch, _: self.ratio(model, batch, window), volumes, run)
        return found | {"level": float(values.min())} if len(values) else {}


def compressed_bits(x: Tensor, window: Sequence[float], compressor: Compressor = "png") -> Tensor:
    """Bits of each image as a file of 8 bits a pixel, header included.

    Args:
        x: shape (B, C, S); channels and slices are put below each other.
        window: lowest and highest intensity; what is beyond is cut off.
        compressor: which.

    Returns:
        Shape (B,).
    """
    from PIL import Image

    low, high = window
    scaled = ((x.float() - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    sizes = []
    for image in scaled:
        file = BytesIO()
        Image.fromarray(image.reshape(-1, image.shape[-1])).save(file, **WRITERS[compressor])
        sizes.append(8.0 * file.tell())
    return torch.tensor(sizes, dtype=torch.float32, device=x.device)
