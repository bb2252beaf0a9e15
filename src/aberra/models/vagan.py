"""VA-GAN: what has to be added to an image of somebody diseased to make it look healthy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.kinds import diseased
from aberra.nets.critic import Critic, critic_loss, critic_turns
from aberra.nets.networks import Choice, Skips, Unified, network_for
from aberra.options import Dims, Edge, Few, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch


class VAGAN(nn.Module):
    """The healthy version of an image is x + M(x), M a map that a critic demands and an ℓ1 norm
    keeps small.

    Baumgartner, Koch, Tezcan, Ang, Konukoglu 2018, *Visual Feature Attribution using Wasserstein
    GANs* (CVPR, arXiv 1711.08998), eq. 2 to 6. x of diseased, y of healthy people:

    - critic: ``E D(x + M(x)) − E D(y) + λ_gp · E(‖∇D‖₂ − 1)²``,
    - map: ``−E D(x + M(x)) + λ · E‖M(x)‖₁ / n``.

    Healthy images are never shown to the map in training, and there is no classifier.

    Args:
        channels: C.
        dims: 2 or 3; the paper is 3-D.
        size: spatial shape S of the input.
        network: of the map, a U-Net.
        critic_width: filters of the critic's first layer; it is the encoder of network
            ``unified``, without batch norm.
        critic_steps: turns of the critic for one of the map; the paper has 100 in some steps.
        sparsity: λ.
        penalty: λ_gp.

    Raises:
        ConfigError: a network of another family, or a size that cannot be halved so often.

    Deviation: our U-Net and critic instead of the paper's, always the same number of critic turns,
    and batches that hold both classes as they come: a turn without one of them teaches nothing.
    Validation watches the size of the map on healthy images, where it should be 0, beside how far
    the critic is from taking its translations for healthy.

    Examples:
        >>> import torch
        >>> from aberra.models.vagan import VAGAN
        >>> model = VAGAN(channels=1, size=(32, 32), network={"width": 4}, critic_width=4).eval()
        >>> model.reconstruct(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """

    name = "vagan"
    NETWORK: ClassVar = {"name": "unet"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        critic_width: Width = 32,
        critic_steps: Few = 5,
        sparsity: NotNegative = 100.0,
        penalty: NotNegative = 10.0,
    ) -> None:
        super().__init__()
        shape: dict[str, Any] = {"channels": channels, "dims": dims, "size": size}
        self.map = network_for(self, network, Skips, **shape).unet()
        self.critic = Critic(Unified(width=critic_width, dropout=0.0, **shape))
        self.critic_turns = critic_turns(critic_steps)
        self.sparsity = sparsity
        self.penalty = penalty

    def reconstruct(self, x: Tensor) -> Tensor:
        """Add M(x): (B, C, S) to (B, C, S)."""
        healthy: Tensor = x + self.map(x)
        return healthy

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return diseased(lesion)

    def turns(self, progress: float) -> Sequence[str]:
        """Several turns of the critic, then one of the map, to the end."""
        del progress
        return (*self.critic_turns, "map")

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Critic and map."""
        return {"critic": self.critic.parameters(), "map": self.map.parameters()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; validation sees what the map adds to healthy images and what is left to
        tell its translations by.
        """
        ill = self.label(batch.truth) > 0
        sick, healthy = batch.x[ill], batch.x[~ill]
        if batch.turn == "critic":
            count = min(len(sick), len(healthy))  # the penalty looks between pairs
            if not count:
                return {"loss": 0 * self.critic(batch.x).sum()}
            with torch.no_grad():
                made = self.reconstruct(sick[:count])
            return critic_loss(self.critic, healthy[:count], made, batch.generator, penalty=self.penalty)
        if batch.turn:
            if not len(sick):
                return {"loss": 0 * self.map(batch.x).sum()}
            added = self.map(sick)
            adversarial, size = -self.critic(sick + added).mean(), added.abs().mean()
            return {"loss": adversarial + self.sparsity * size, "adversarial": adversarial, "size": size}
        left = self.map(healthy).abs().mean() if len(healthy) else batch.x.new_zeros(())
        told = batch.x.new_zeros(())
        if len(sick) and len(healthy):
            told = (self.critic(healthy).mean() - self.critic(self.reconstruct(sick)).mean()).abs()
        return {"loss": told + self.sparsity * left, "left": left, "told": told}
