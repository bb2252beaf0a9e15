"""A U-Net that learns from scans without outlines, too: features of like voxels come together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aberra.errors import ConfigError
from aberra.kinds import GUESSES, UNTOLD
from aberra.models.unet import UNet
from aberra.options import NotNegative, Positive, Several, configured

if TYPE_CHECKING:
    from torch import Generator

    from aberra.batch import Batch

TINY = 1e-8
"""Least length of a feature whose angle is asked for."""

SHARES = {"half": 0.5, "80/20": 0.2}
"""Of samples in lesions, by the name of the sampling."""


class UNetEmbedding(UNet):
    """A U-Net with auxiliary manifold embedding: lesion voxels of all scans, outlined or not, are
    drawn to each other in the features of its decoder, and away from healthy ones.

    Baur, Albarqouni, Navab 2017, Semi-supervised Deep Learning for Fully Convolutional Networks
    (MICCAI), after Weston, Ratle, Mobahi, Collobert 2012: with L_P the loss of the U-Net over the
    outlined samples of a batch,

        ``L = L_P + Σ_l λ_l·L_E^l``,
        ``L_E = mean over pairs i < j of { d(hᵢ, hⱼ)² if aᵢⱼ = 1, max(0, m − d(hᵢ, hⱼ))² if not }``

    hᵢ are features at random voxels of all samples of the batch, and a is 1 where both are lesion or
    both healthy: by the outline, resized to the level by the nearest neighbour, or, where there is
    none, by a prior.

    Args:
        embedding: λ_l of the decoder's levels, finest first; levels beyond have none.
        margin: m.
        distance: ``euclidean``, d = ‖hᵢ − hⱼ‖, or ``angular``, d = 1 − cos(hᵢ, hⱼ).
        sampling: ``half`` of the voxels in lesions, as many as there are by ``distribution``, or a
            fifth of them in lesions, ``80/20``.
        voxels: drawn of a batch, for each level.
        prior: of samples without an outline: ``given`` (a guess in column ``lesion`` where the
            manifest says ``guessed``; voxels that are undecided, and scans without a guess, are left
            out), or ``own``, which takes what the network itself says at the moment where nothing is
            given.

    Raises:
        ConfigError: more levels than the network's decoder has.

    Deviation: the paper was not at hand: λ, m, the levels and the numbers of voxels are ours, and so
    is the mean over pairs in the place of their sum. Which of 80/20 is lesion is not known; here
    lesions are the 20. Where a batch has no voxel of a class, all are of the other one. The prior
    ``own`` is ours.
    """

    name = "unet-embedding"
    NETWORK: ClassVar = UNet.NETWORK

    @configured("model", extends=UNet)
    def __init__(
        self,
        *,
        embedding: Sequence[NotNegative] = (0.0, 0.1),
        margin: Positive = 1.0,
        distance: Literal["euclidean", "angular"] = "angular",
        sampling: Literal["half", "distribution", "80/20"] = "80/20",
        voxels: Several = 200,
        prior: Literal["given", "own"] = "given",
        **options: object,
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        levels = len(self.network.up)
        if len(embedding) > levels:
            raise ConfigError(
                f"model.embedding={list(embedding)}; expected {levels} weights at most, one a level of the decoder"
            )
        self.embedding = tuple(embedding)
        self.margin = margin
        self.distance = distance
        self.sampling = sampling
        self.voxels = voxels
        self.prior = prior

    def known(self, lesion: Tensor) -> Tensor:
        """Where the truth (B, 1, S) was outlined, float 0/1."""
        return (lesion >= 0).float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_P over what is outlined, and the embedding of all; in validation L_P alone, over guesses
        as well, since a held-out case need not be outlined.
        """
        mask, lesion = batch.mask, batch.truth
        levels = self.network.features(batch.x)
        out = self.network.head(levels[0])
        if not self.training:
            lesion = torch.where((lesion < 0) & (lesion > UNTOLD), lesion - GUESSES, lesion)
        told = self.known(lesion)
        losses = self.outlined(out, mask * told, lesion * told)
        if not self.training or not any(self.embedding):
            return losses
        classes = self.classes_of(lesion, out)
        total = out.new_zeros(())
        for weight, features in zip(self.embedding, levels, strict=False):
            if not weight:
                continue
            inside = F.interpolate(mask, size=features.shape[2:], mode="nearest")
            there = F.interpolate(classes, size=features.shape[2:], mode="nearest")
            there = there.masked_fill(inside == 0, UNTOLD)
            h, adjacent = self.sampled(features.float(), there, batch.generator)
            total = total + weight * manifold_loss(h, adjacent, margin=self.margin, distance=self.distance)
        return losses | {"loss": losses["loss"] + total, "embedding": total}

    def classes_of(self, lesion: Tensor, out: Tensor) -> Tensor:
        """0, 1 or :data:`aberra.kinds.UNTOLD` of each voxel, (B, 1, S): truth, guess, or own
        answer.
        """
        classes = torch.where((lesion < 0) & (lesion > UNTOLD), lesion - GUESSES, lesion)
        if self.prior == "own":
            _, sick = self.logarithms(out.detach())
            classes = torch.where(classes == UNTOLD, (sick.exp() > 0.5).float(), classes)
        return classes

    def sampled(self, features: Tensor, classes: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Features (N, F) at random voxels of a batch, and the class of each, (N,)."""
        rows = features.movedim(1, -1).flatten(0, -2)
        labels = classes.flatten()
        well, sick = (torch.nonzero(labels == value).flatten() for value in (0, 1))

        def drawn(places: Tensor, count: int) -> Tensor:
            numbers = torch.randint(max(len(places), 1), (count,), generator=generator, device=rows.device)
            return places[numbers] if len(places) else places

        if self.sampling == "distribution" or not len(well) or not len(sick):
            chosen = drawn(torch.cat([well, sick]), self.voxels)
        else:
            count = round(SHARES[self.sampling] * self.voxels)
            chosen = torch.cat([drawn(well, self.voxels - count), drawn(sick, count)])
        return rows[chosen], labels[chosen]


def manifold_loss(
    h: Tensor, classes: Tensor, *, margin: float, distance: Literal["euclidean", "angular"]
) -> Tensor:
    """L_E of features h (N, F) and their classes (N,): see :class:`UNetEmbedding`; 0 of fewer than
    two.
    """
    if len(h) < 2:
        return h.sum() * 0
    i, j = torch.triu_indices(len(h), len(h), offset=1, device=h.device)
    if distance == "angular":
        unit = h / h.norm(dim=1, keepdim=True).clamp(min=TINY)
        apart = 1 - (unit @ unit.T)[i, j]
        squared = apart**2
    else:
        squared = ((h[i] - h[j]) ** 2).sum(dim=1)
        # the root has no slope at 0
        apart = (squared + TINY**2).sqrt()
    return torch.where(classes[i] == classes[j], squared, (margin - apart).clamp(min=0) ** 2).mean()
