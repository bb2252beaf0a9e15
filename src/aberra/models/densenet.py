"""A DenseNet that tells healthy from diseased images, and can be asked what it looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.kinds import diseased
from aberra.nets import densenet
from aberra.options import Dims, Edge, Width, Within, configured

if TYPE_CHECKING:
    from aberra.batch import Batch


Layers = Annotated[int, Within(1, 128)]
"""Of a dense block."""

MOST = 8
"""Dense blocks."""


class DenseNet(nn.Module):
    """Dense blocks, global mean, a linear layer of two logits; learns by cross-entropy.

    Huang, Liu, van der Maaten, Weinberger 2017 (CVPR, arXiv 1608.06993); DenseNet-169 is the
    classifier beside DeScarGAN in Wolleb 2022 (thesis, Basel), chapter 6. Since the last layer is
    linear in the mean of each feature map, these maps, weighted, say where the answer comes from
    (score ``attribution``).

    DenseNet-169 with three channels and a thousand classes has 14,149,480 parameters; with one
    channel and two classes 12,481,538.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        blocks: layers of each dense block; DenseNet-169 has 6, 12, 32 and 32. Between two of them
            the grid is halved, before the first one twice.
        growth: features that a layer adds; DenseNet-169 has 32.
        width: filters of the first convolution; DenseNet-169 has 64.

    Raises:
        ConfigError: no dense block, or more than eight.

    Deviation: weights are drawn at random, not taken from a training on photographs.

    Examples:
        >>> import torch
        >>> from aberra.models.densenet import DenseNet
        >>> model = DenseNet(channels=1, size=(32, 32), blocks=(2, 2), growth=4, width=8).eval()
        >>> logs = model.classify(torch.rand(3, 1, 32, 32))
        >>> logs.shape, bool((logs.exp().sum(dim=1) - 1).abs().max() < 1e-5)
        (torch.Size([3, 2]), True)
    """

    name = "densenet"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        blocks: Sequence[Layers] = (6, 12, 32, 32),
        growth: Width = 32,
        width: Width = 64,
    ) -> None:
        super().__init__()
        del size  # any
        if not 1 <= len(blocks) <= MOST:
            raise ConfigError(f"model.blocks: {len(blocks)} dense block(s); expected 1 to {MOST}")
        self.features = densenet.DenseNet(
            channels=channels, dims=dims, blocks=blocks, growth=growth, width=width
        )
        self.head = nn.Linear(self.features.features, 2)

    # -- what scores ask ---------------------------------------------------------------------------

    def class_maps(self, x: Tensor) -> Tensor:
        """The maps before the global mean: (B, C, S) to (B, F, S')."""
        maps: Tensor = self.features(x)
        return maps

    def class_logits(self, maps: Tensor) -> Tensor:
        """(B, F, S') to (B, 2)."""
        logits: Tensor = self.head(densenet.pooled(maps))
        return logits

    def class_weights(self) -> Tensor:
        """Of the last layer, (2, F)."""
        return self.head.weight

    def classify(self, x: Tensor) -> Tensor:
        """(B, C, S) to log-probabilities (B, 2)."""
        return self.class_logits(self.class_maps(x)).log_softmax(dim=1)

    # -- learning ----------------------------------------------------------------------------------

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return diseased(lesion)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, and the share of images whose class is told."""
        told, truth = self.classify(batch.x), self.label(batch.truth)
        return {
            "loss": F.nll_loss(told, truth),
            "accuracy": (told.argmax(dim=1) == truth).float().mean().detach(),
        }
