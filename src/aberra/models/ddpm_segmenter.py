"""Lesion masks by diffusion, as many as are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from aberra.diffusion.noise import shared
from aberra.diffusion.samplers import Sampler, sample
from aberra.kinds import checked, one_hot
from aberra.models.ddpm import DDPM
from aberra.options import Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch
    from aberra.diffusion.samplers import Denoise
    from aberra.diffusion.schedule import Estimate, Schedule

STRIDE = 100_003
"""Between the seeds of draws, as in the ancestral sampler, whose noise of step t has seed
draw·STRIDE + t; t = 0 is the start's."""


class DDPMSegmenter(nn.Module):
    """Takes noise out of a lesion mask while it sees the image; every noise it starts from gives a
    plausible mask.

    Wolleb, Sandkühler, Bieder, Valmaggia, Cattin 2022, Diffusion Models for Implicit Image
    Segmentation Ensembles (MIDL, arXiv 2112.03145): only the mask is noised,
    ``x_{b,t} = √ᾱ_t·x_b + √(1 − ᾱ_t)·ε``; the network sees the image's C channels beside it and
    predicts ε and the variance of the step. The mean of several masks is the segmentation, their
    variance the uncertainty.

    Args:
        channels: C.
        learned_variance: as published.
        kinds: label values of the lesion masks to be told apart, a channel each, diffused together;
            values that are not listed are background. Empty: one kind, any lesion, as published.

    Raises:
        ConfigError: unknown option, or label values that are none.

    Deviation: masks are diffused as −1 and 1, so that noise treats both alike (Chen, Zhang, Hinton
    2023, "analog bits"); the publication diffuses 0 and 1. x̂₀ is kept in that range at every step,
    and a mask is clipped to [0, 1], neither of which the publication mentions; masks are not
    binarised before they are averaged. Masks of several kinds are clipped each and divided by their
    sum where it is above 1. All else as :class:`aberra.models.ddpm.DDPM`, whose noise is Gaussian
    here.
    """

    name = "ddpm-segmenter"
    NETWORK = DDPM.NETWORK

    @configured("model", extends=DDPM, without=("noise", "conditions"))
    def __init__(
        self, *, channels: Width, learned_variance: bool = True, kinds: Sequence[int] = (), **options: Any
    ) -> None:
        super().__init__()
        self.kinds = checked(kinds)
        self.masks = MaskDiffusion(
            channels=len(self.kinds) or 1, context=channels, learned_variance=learned_variance, **options
        )

    def process(self) -> Schedule:
        """The schedule of the noise."""
        return self.masks.schedule

    def segmentations(
        self, x: Tensor, count: int, *, steps: int | None = None, sampler: Sampler = "ddpm"
    ) -> Iterator[Tensor]:
        """Yield ``count`` masks of ``x``, (B, K, S) each, one a kind, with sum in [0, 1]; draw n
        starts from noise number n.
        """
        schedule = self.process()
        times = schedule.times(schedule.steps if steps is None else steps)
        like = x[:, :1].float().expand(-1, len(self.kinds) or 1, *x.shape[2:])
        for draw in range(count):
            start = shared("gaussian", draw * STRIDE, like).expand_as(like)
            found = sample(sampler, self.masks.beside(x), start, times, schedule, seed=draw)
            masks = ((found + 1) / 2).clamp(0, 1)
            yield masks / masks.sum(dim=1, keepdim=True).clamp(min=1)

    def label(self, lesion: Tensor) -> Tensor:
        """The mask itself, (B, 1, S)."""
        return lesion

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The diffusion loss of the lesion mask, beside the image; with kinds ``lesion`` has label
        values.
        """
        masks = 2 * one_hot(batch.truth, self.kinds) - 1
        return self.masks.diffusion_loss(masks, batch.generator, context=batch.x)


class MaskDiffusion(DDPM):
    """Diffuses K channels in [−1, 1]; its network sees ``context`` channels without noise as well,
    before them.
    """

    def __init__(self, *, channels: int, context: int, **options: Any) -> None:
        super().__init__(channels=channels, **options)
        first = self.net.first
        self.net.first = type(first)(context + channels, first.out_channels, 3, padding=1)

    def beside(self, context: Tensor) -> Denoise:
        """What takes the noise out of masks (B, K, S) beside ``context`` (B, C, S)."""

        def denoise(noisy: Tensor, t: int) -> Estimate:
            found = self.denoise(noisy, t, context=context)
            clipped = self.schedule.estimate(found.image.clamp(-1, 1), noisy, t, "image")
            return replace(clipped, spread=found.spread)

        return denoise
