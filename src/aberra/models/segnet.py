"""SegNet and its two ways of saying that it is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log, prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.kinds import checked, one_hot
from aberra.nets.dropout import MCDropout, drawn
from aberra.nets.unified import conv, normaliser
from aberra.options import Dims, Edge, Few, Levels, ShareBelowOne, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator

    from aberra.batch import Batch

CONVOLUTIONS = (2, 2, 3, 3, 3)
MULTIPLIERS = (1, 2, 4, 8, 8)
"""Of the five stages of VGG16."""

CENTRAL = 3
"""Deepest stages, of encoder and decoder, that have dropout."""

BOUND = 10.0
"""Largest absolute log-variance: beyond it only the exponential overflows."""


class SegNet(nn.Module):
    """Learns lesion masks; an encoder–decoder whose decoder puts values back where max pooling took
    them from.

    Badrinarayanan, Kendall, Cipolla 2017 (arXiv 1511.00561): stages of 3×3 convolution, batch norm
    and ReLU, as VGG16; binary cross-entropy in the foreground. The baselines of Wolleb 2022:

    - ``dropout``: Bayesian SegNet (Kendall, Badrinarayanan, Cipolla 2015, arXiv 1511.02680),
      dropout behind the deepest three stages of encoder and decoder (its "central" variant), left
      on when several draws are asked for.
    - ``aleatoric``: the network also predicts the log-variance s of its logit f and learns
      ``−log (1/K) Σₖ p(y | f + exp(s/2)·εₖ)``, εₖ standard normal (Kendall & Gal 2017, eq. 12).

    Args:
        channels: C.
        dims: 2 or 3; the paper is 2-D, in 3-D every layer is its 3-D sibling.
        size: spatial shape S of the input.
        width: filters of the first stage; the paper has 64.
        levels: stages, at most 5; the paper has 5.
        dropout: share of units dropped; 0 is off, the paper has 0.5.
        aleatoric: predict the variance of the logit, too.
        samples: K.
        kinds: label values of the lesion masks to be told apart, by softmax over background and
            these; values that are not listed are background. Empty: one kind, any lesion.

    Raises:
        ConfigError: a number of stages outside 1 to 5, an edge that cannot be halved so often, a
            share outside [0, 1), label values that are none, or ``aleatoric`` with several kinds.

    Deviation: weights are drawn at random, not taken from VGG16. Training with ``aleatoric``
    samples the logit; in use the probability is that of its mean f.
    """

    name = "segnet"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        width: Width = 64,
        levels: Levels = 5,
        dropout: ShareBelowOne = 0.0,
        aleatoric: bool = False,
        samples: Few = 10,
        kinds: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if levels > len(CONVOLUTIONS):
            raise ConfigError(f"model.levels={levels}: expected 1 to {len(CONVOLUTIONS)} stages")
        if any(edge % 2**levels for edge in size):
            raise ConfigError(
                f"size {tuple(size)} with model.levels={levels}: every edge must be divisible by {2**levels}"
            )
        self.kinds = checked(kinds)
        if aleatoric and self.kinds:
            raise ConfigError(
                f"model.kinds={list(kinds)} with model.aleatoric: the variance is that of one logit; leave one of them out"
            )
        self.dropout = dropout
        self.aleatoric = aleatoric
        self.samples = samples
        self.pool = F.max_pool2d if dims == 2 else F.max_pool3d

        def stage(before: int, after: int, count: int) -> list[nn.Module]:
            widths = [before, *[after] * count]
            layers: list[nn.Module] = []
            for narrow, wide in pairwise(widths):
                layers += [
                    conv(dims)(narrow, wide, 3, padding=1),
                    normaliser("batch", dims, wide),
                    nn.ReLU(),
                ]
            return layers

        def dropped(level: int) -> nn.Module:
            return MCDropout(dropout) if dropout and level >= levels - CENTRAL else nn.Identity()

        widths = [channels, *(times * width for times in MULTIPLIERS[:levels])]
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.encoder_dropout = nn.ModuleList(dropped(level) for level in range(levels))
        self.decoder_dropout = nn.ModuleList(dropped(level) for level in range(levels))
        for level, count in enumerate(CONVOLUTIONS[:levels]):
            before, after = widths[level], widths[level + 1]
            self.encoder.append(nn.Sequential(*stage(before, after, count)))
            if level:
                back = [*stage(after, after, count - 1), *stage(after, before, 1)]
            else:  # the last convolution is the answer: no norm, no ReLU
                out = 1 + (len(self.kinds) or aleatoric)
                back = [*stage(after, after, count - 1), conv(dims)(after, out, 3, padding=1)]
            self.decoder.append(nn.Sequential(*back))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to the lesion's logit (B, 1, S), with ``aleatoric`` its log-variance as
        second channel.

        With K kinds: to the logits of background and each kind, (B, 1 + K, S).
        """
        places = []
        for stage, dropout in zip(self.encoder, self.encoder_dropout, strict=True):
            x = stage(x)
            size = x.shape[2:]
            x, indices = self.pool(x, 2, return_indices=True)
            places.append((indices, size))
            x = dropout(x)
        for level in reversed(range(len(places))):
            x = self.decoder[level](unpool(x, *places[level]))
            if level:
                x = self.decoder_dropout[level](x)
        return x

    # -- what scores ask ---------------------------------------------------------------------------

    def segmentations(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Yield ``count`` probability maps (B, K, S), one a kind; with dropout and several draws
        each has its own units dropped.
        """
        if self.dropout and count > 1:
            for draw in range(count):
                with drawn(self, draw):
                    found = self.probability(x)
                yield found
            return
        found = self.probability(x)
        for _ in range(count):
            yield found

    def probability(self, x: Tensor) -> Tensor:
        """Probability of lesion, or of each of K kinds, (B, C, S) to (B, 1, S) or (B, K, S)."""
        if self.kinds:
            return torch.softmax(self(x).float(), dim=1)[:, 1:]
        return torch.sigmoid(self(x)[:, :1].float())

    def predicted_variance(self, x: Tensor) -> Tensor:
        """exp(s), variance of the logit, (B, C, S) to (B, 1, S).

        Raises:
            ConfigError: the model was not built to predict it.
        """
        if not self.aleatoric:
            raise ConfigError(
                "score.uncertainty=aleatoric: this segnet predicts no variance; fit it with model.aleatoric=true, "
                "or ask for 'entropy'"
            )
        variance: Tensor = self(x)[:, 1:].float().clamp(-BOUND, BOUND).exp()
        return variance

    # -- learning ----------------------------------------------------------------------------------

    def label(self, lesion: Tensor) -> Tensor:
        """The mask itself, (B, 1, S)."""
        return lesion

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean cross-entropy in the foreground, of sampled logits with ``aleatoric``; with kinds
        ``lesion`` has label values.
        """
        mask, lesion = batch.mask, batch.truth
        out = self(batch.x).float()
        logit = out[:, :1]
        if self.kinds:
            told = one_hot(lesion, self.kinds)
            classes = torch.cat([1 - told.sum(dim=1, keepdim=True), told], dim=1)
            error = F.cross_entropy(out, classes, reduction="none")[:, None]
        elif self.aleatoric:
            error = sampled_cross_entropy(logit, out[:, 1:], lesion, self.samples, batch.generator)
        else:
            error = F.binary_cross_entropy_with_logits(logit, lesion, reduction="none")
        return {"loss": (error * mask).sum() / mask.sum().clamp(min=1)}


def sampled_cross_entropy(
    logit: Tensor, log_variance: Tensor, truth: Tensor, samples: int, generator: Generator
) -> Tensor:
    """``−log (1/K) Σₖ p(y | f + exp(s/2)·εₖ)`` of each voxel, all (B, 1, S); Kendall & Gal 2017,
    eq. 12.
    """
    noise = torch.randn((samples, *logit.shape), generator=generator, device=logit.device)
    spread = (log_variance.clamp(-BOUND, BOUND) / 2).exp()
    drawn_logits = logit + spread * noise
    likelihood = -F.binary_cross_entropy_with_logits(
        drawn_logits, truth.expand_as(drawn_logits), reduction="none"
    )
    return log(samples) - torch.logsumexp(likelihood, dim=0)


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Put values where max pooling found them, zeros elsewhere: (B, F, S / 2) to (B, F, S); in 2-D
    and 3-D.
    """
    flat = x.new_zeros((*x.shape[:2], prod(size)))
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).reshape(*x.shape[:2], *size)
