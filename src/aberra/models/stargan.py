"""StarGAN, and with a translation of every image to its own class Fixed-Point GAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.diffusion.guidance import HEALTHY
from aberra.errors import ConfigError
from aberra.kinds import diseased
from aberra.nets.critic import critic_turns, gradient_penalty
from aberra.nets.stargan import Critic, Generator
from aberra.options import Edge, Few, Levels, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Generator as Randomness
    from torch.nn import Parameter

    from aberra.batch import Batch


class StarGAN(nn.Module):
    """The healthy version of an image is what one generator for all classes makes of it when it is
    told "healthy".

    Choi, Choi, Kim, Ha, Kim, Choo 2018, *StarGAN* (CVPR, arXiv 1711.09020). An image x of class c, a
    class k drawn at random:

    - critic: ``E D(G(x, k)) − E D(x) + λ_gp · E(‖∇D‖₂ − 1)² − λ_c · log D_cls^c(x)``,
    - generator: ``−E D(G(x, k)) − λ_c · log D_cls^k(G(x, k)) + λ_r · ‖x − G(G(x, k), c)‖₁ / n``.

    With ``identity`` it is Fixed-Point GAN (Rahman Siddiquee et al. 2019, ICCV, arXiv 1908.06965): the
    generator also translates each image to its own class, has the same losses there, and
    ``λ_i · ‖x − G(x, c)‖₁ / n``, so that it learns to leave alone what need not change.

    53,226,560 parameters with three channels, 128² and eight classes, the paper's "53.2M".

    Args:
        channels: C.
        size: spatial shape S of the input.
        width: filters of the generator at full resolution.
        blocks: residual blocks of the generator.
        critic_width: filters of the critic's first layer.
        critic_levels: halvings of the critic; None is 6, or as many as the smallest edge allows.
        critic_steps: turns of the critic for one of the generator.
        classification: λ_c.
        reconstruction: λ_r.
        identity: λ_i; 0 is StarGAN.
        residual: the generator makes what is added to the image (Fixed-Point GAN).
        penalty: λ_gp.

    Raises:
        ConfigError: an edge that cannot be halved so often, or another number of edges than two.

    Deviation: the output is linear instead of tanh: our intensities reach above 1. Every turn has a
    batch of its own. Validation watches all but the adversarial terms.

    Examples:
        >>> import torch
        >>> from aberra.models.stargan import StarGAN
        >>> model = StarGAN(channels=1, size=(32, 32), width=4, blocks=1, critic_width=4).eval()
        >>> model.reconstruct(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """

    name = "stargan"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        size: Sequence[Edge],
        width: Width = 64,
        blocks: Levels = 6,
        critic_width: Width = 64,
        critic_levels: Levels | None = None,
        critic_steps: Few = 5,
        classification: NotNegative = 1.0,
        reconstruction: NotNegative = 10.0,
        identity: NotNegative = 0.0,
        residual: bool = False,
        penalty: NotNegative = 10.0,
    ) -> None:
        super().__init__()
        if len(size) != 2:
            raise ConfigError(
                f"model: stargan sees slices, not volumes ({len(size)} edges); set prepare.dims=2"
            )
        self.classification = classification
        self.reconstruction = reconstruction
        self.identity = identity
        self.residual = residual
        self.penalty = penalty
        self.critic_turns = critic_turns(critic_steps)
        self.generator = Generator(channels=channels, size=size, width=width, blocks=blocks)
        self.critic = Critic(channels=channels, size=size, width=critic_width, levels=critic_levels)

    # -- what scores ask ---------------------------------------------------------------------------

    def translate(self, x: Tensor, target: Tensor) -> Tensor:
        """G(x, k), k each image's own: (B, C, S) and (B,) to (B, C, S)."""
        out: Tensor = self.generator(x, target)
        return x + out if self.residual else out

    def reconstruct(self, x: Tensor) -> Tensor:
        """G(x, healthy): (B, C, S) to (B, C, S)."""
        return self.translate(x, torch.full((len(x),), HEALTHY, device=x.device))

    def classify(self, x: Tensor) -> Tensor:
        """Log D_cls(x): (B, C, S) to (B, 2)."""
        return self.critic.logits(x).log_softmax(dim=1)

    # -- learning ----------------------------------------------------------------------------------

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return diseased(lesion)

    def turns(self, progress: float) -> Sequence[str]:
        """Several turns of the critic, then one of the generator, to the end."""
        del progress
        return (*self.critic_turns, "generator")

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Critic and generator."""
        return {"critic": self.critic.parameters(), "generator": self.generator.parameters()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; validation sees the generator's and the class of real images, without
        the adversarial terms, of translations to the other class.
        """
        x, own, generator = batch.x, self.label(batch.truth), batch.generator
        if not batch.turn:
            found = self._generator_loss(x, own, 1 - own)
            of_real = F.cross_entropy(self.critic.logits(x), own)
            settled = found["loss"] - found["adversarial"]
            return {"loss": settled + self.classification * of_real, "real_class": of_real}
        target = torch.randint(2, own.shape, generator=generator, device=own.device)
        if batch.turn == "critic":
            return self._critic_loss(x, own, target, generator)
        return self._generator_loss(x, own, target)

    def _critic_loss(
        self, x: Tensor, own: Tensor, target: Tensor, generator: Randomness
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            made = self.translate(x, target)
        real, logits = self.critic(x)
        distance = (real - self.critic.score(made)).mean()
        slope = gradient_penalty(self.critic.score, x, made, generator)
        told = F.cross_entropy(logits, own)
        loss = self.penalty * slope - distance + self.classification * told
        return {"loss": loss, "distance": distance, "penalty": slope, "class": told}

    def _generator_loss(self, x: Tensor, own: Tensor, target: Tensor) -> dict[str, Tensor]:
        found = self._translation_loss(x, own, target)
        if self.identity:  # the same once more, to the class that it has
            same = self._translation_loss(x, own, own)
            found = {name: value + same[name] for name, value in found.items()}
            found["identity"] = same["change"]
            found["loss"] = found["loss"] + self.identity * same["change"]
        del found["change"]
        return found

    def _translation_loss(self, x: Tensor, own: Tensor, target: Tensor) -> dict[str, Tensor]:
        made = self.translate(x, target)
        real, logits = self.critic(made)
        adversarial, told = -real.mean(), F.cross_entropy(logits, target)
        cycle = F.l1_loss(self.translate(made, own), x)
        loss = adversarial + self.classification * told + self.reconstruction * cycle
        change = F.l1_loss(made, x)
        return {"loss": loss, "adversarial": adversarial, "class": told, "cycle": cycle, "change": change}
