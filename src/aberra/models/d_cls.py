"""The class head of DeScarGAN's critic, alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.kinds import diseased
from aberra.nets.critic import instance_noise
from aberra.nets.descargan import Critic
from aberra.options import Edge, Levels, NotNegative, Width, configured

if TYPE_CHECKING:
    from aberra.batch import Batch


class DCls(nn.Module):
    """D_cls of :class:`aberra.models.descargan.DeScarGAN` as a classifier: what does the GAN add?

    Wolleb 2022 (thesis, Basel), chapter 6: trunk and class head of the critic, without the other
    two heads and without generator, by cross-entropy. 8,729,922 parameters at 256² with one
    channel.

    Args:
        channels: C.
        size: spatial shape S of the input.
        critic_width: filters of the first convolution.
        critic_levels: how often the trunk halves the grid, at most 5; None is 5, or fewer where
            less than 4 px would be left.
        noise: largest uniform noise added to the images in training; 0 is off.

    Raises:
        ConfigError: an edge that cannot be halved so often, or another number of edges than two.

    Examples:
        >>> import torch
        >>> from aberra.models.d_cls import DCls
        >>> model = DCls(channels=1, size=(32, 32), critic_width=4).eval()
        >>> model.classify(torch.rand(3, 1, 32, 32)).shape
        torch.Size([3, 2])
    """

    name = "d-cls"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        size: Sequence[Edge],
        critic_width: Width = 32,
        critic_levels: Levels | None = None,
        noise: NotNegative = 0.05,
    ) -> None:
        super().__init__()
        if len(size) != 2:
            raise ConfigError(
                f"model: d-cls sees slices, not volumes ({len(size)} edges); set prepare.dims=2"
            )
        self.noise = noise
        self.critic = Critic(
            channels=channels, size=size, width=critic_width, levels=critic_levels, judges=False
        )

    def class_maps(self, x: Tensor) -> Tensor:
        """The maps before the fully connected layers: (B, C, S) to (B, F, S')."""
        maps: Tensor = self.critic.features(self.critic.trunk(x))
        return maps

    def class_logits(self, maps: Tensor) -> Tensor:
        """(B, F, S') to (B, 2)."""
        logits: Tensor = self.critic.head(maps)
        return logits

    def classify(self, x: Tensor) -> Tensor:
        """(B, C, S) to log-probabilities (B, 2)."""
        return self.class_logits(self.class_maps(x)).log_softmax(dim=1)

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return diseased(lesion)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, and the share of images whose class is told."""
        x = instance_noise(batch.x, self.noise if self.training else 0.0, batch.generator)
        told, truth = self.classify(x), self.label(batch.truth)
        return {
            "loss": F.nll_loss(told, truth),
            "accuracy": (told.argmax(dim=1) == truth).float().mean().detach(),
        }
