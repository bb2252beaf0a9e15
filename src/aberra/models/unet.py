"""The U-Net that learns lesion masks: the yardstick of all that learns without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from aberra.nets.networks import Choice, Skips, network_for
from aberra.options import Dims, Edge, Few, Maybe, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch

RARE = 3.0
"""Logit of healthy against lesion at the beginning: lesions are rare."""


class UNet(nn.Module):
    """Learns lesion masks; its map is the probability of lesion.

    Ronneberger, Fischer, Brox 2015 (MICCAI, arXiv 1505.04597), in 3-D Çiçek et al. 2016 (MICCAI,
    arXiv 1606.06650): a U-Net whose loss is, with p the probability and t the truth of the
    foreground's voxels,

        ``L = mean w_t·(−log p_t) + dice·(1 − (2 Σ p·t + 1) / (Σ p + Σ t + 1))``

    (soft Dice: Milletari, Navab, Ahmadi 2016, arXiv 1606.04797, of the whole batch, so that samples
    without a lesion count as well).

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: ``unet`` (skips are concatenated) or ``unet-added``.
        classes: logits of a lesion, whose probabilities add up: 3 takes the head of
            :class:`aberra.models.anomaly_segmenter.AnomalySegmenter`, too, where
            ``training.start`` is one with that network and ``label = "class"``.
        maps: channels that the preparation appends, as of that model.
        dice: weight of the soft Dice loss; 0 is off.
        balance: ``none`` (w = 1), or ``median-frequency`` (Eigen, Fergus 2015, ICCV): w of a class
            is the median of the two classes' frequencies over its own, a class's frequency its
            share of the foreground of the samples in which it is.

    Raises:
        ConfigError: an edge that cannot be halved so often, or another network.

    Deviation: padded convolutions, group norm and SiLU (``unet-added``: leaky ReLU); no deformation
    of training samples and no weight map of borders. Frequencies of classes are a batch's, not all
    training images'.
    """

    name = "unet"
    NETWORK: ClassVar = {"name": "unet", "width": 32}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        classes: Few = 1,
        maps: Maybe = 0,
        dice: NotNegative = 1.0,
        balance: Literal["none", "median-frequency"] = "none",
    ) -> None:
        super().__init__()
        self.classes = classes
        self.dice = dice
        self.balance = balance
        recipe = network_for(self, network, Skips, channels=channels + maps, dims=dims, size=size)
        self.network = recipe.unet(1 if classes == 1 else 1 + classes)
        self.grows = self.network.stride  # whole brains in one pass: see Runner
        with torch.no_grad():
            self.network.head.bias[0] = RARE if classes > 1 else -RARE  # type: ignore[index]

    def segmentations(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Yield the probability of lesion, (B, C, S) to (B, 1, S), ``count`` times."""
        _, lesion = self.logarithms(self.network(x))
        for _ in range(count):
            yield lesion.exp()

    def logarithms(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of healthy and of lesion, (B, 1, S) each, of the network's answer."""
        logits = out.float()
        if self.classes == 1:
            return nn.functional.logsigmoid(-logits), nn.functional.logsigmoid(logits)
        total = logits.logsumexp(dim=1, keepdim=True)
        return logits[:, :1] - total, logits[:, 1:].logsumexp(dim=1, keepdim=True) - total

    # -- learning ----------------------------------------------------------------------------------

    def label(self, lesion: Tensor) -> Tensor:
        """The mask itself, (B, 1, S)."""
        return lesion

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and soft Dice in the foreground."""
        return self.outlined(self.network(batch.x), batch.mask, batch.truth)

    def outlined(self, out: Tensor, mask: Tensor, lesion: Tensor) -> dict[str, Tensor]:
        """The losses of the network's answer, (B, 1, S) or (B, 1 + classes, S), where ``mask`` is
        1.
        """
        well, sick = self.logarithms(out)
        light, heavy = class_weights(lesion, mask) if self.balance == "median-frequency" else (1.0, 1.0)
        error = -(light * (1 - lesion) * well + heavy * lesion * sick) * mask
        entropy = error.sum() / mask.sum().clamp(min=1)
        overlap = soft_dice(sick.exp(), lesion, mask)
        return {"loss": entropy + self.dice * overlap, "cross_entropy": entropy, "dice": overlap}


def soft_dice(p: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """``1 − (2 Σ p·t + 1) / (Σ p + Σ t + 1)`` over all voxels of a batch in the foreground."""
    found, there = p * mask, truth * mask
    return 1 - (2 * (found * there).sum() + 1) / (found.sum() + there.sum() + 1)


def class_weights(truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of healthy and of lesion voxels by median-frequency balancing (Eigen, Fergus 2015);
    1 and 1 where one of them is not there.
    """
    frequencies = []
    for told in ((1 - truth) * mask, truth * mask):
        counts, sizes = (each.flatten(1).sum(dim=1) for each in (told, mask))
        there = counts > 0
        frequencies.append(counts.sum() / sizes[there].sum().clamp(min=1))
    rates = torch.stack(frequencies)
    if not bool((rates > 0).all()):
        rates = torch.ones_like(rates)
    light, heavy = rates.mean() / rates  # the median of two is their mean
    return light, heavy
