"""DeScarGAN: translates an image to healthy and to diseased, and says which of the two it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.diffusion.guidance import HEALTHY
from aberra.errors import ConfigError
from aberra.kinds import diseased
from aberra.nets.critic import critic_turns, gradient_penalty, instance_noise
from aberra.nets.descargan import CLASSES, Critic, Generator, of_class
from aberra.options import Edge, Few, Levels, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Generator as Randomness
    from torch.nn import Parameter

    from aberra.batch import Batch


class DeScarGAN(nn.Module):
    """The healthy version of an image is what a generator makes of it when it is told "healthy".

    Wolleb, Sandkühler, Cattin 2020, *DeScarGAN: Disease-Specific Anomaly Detection with Weak
    Supervision* (MICCAI, arXiv 2007.14118); Wolleb 2022 (thesis, Basel), chapter 6. An image r of
    class c, c̄ the other one; G_k translates to class k, D_k says how real an image of class k is,
    D_cls tells the class:

    - critic: ``λ_a,d · (E D_c̄(G_c̄(r)) − E D_c(r)) + λ_gp · E(‖∇D_k‖₂ − 1)² − λ_c,d · log
      D_cls^c(r)``,
    - generator: ``−λ_a · E D_c̄(G_c̄(r)) + λ_r · ‖r − G_c(G_c̄(r))‖² / n + λ_i · ‖r − G_c(r)‖² / n −
      λ_c · log D_cls^c̄(G_c̄(r))``.

    The class that the generator is asked for is the *other* one (the thesis prints c once, its text
    says c̄). D_cls answers for the class of an image. 8,528,262 parameters of the generator and
    18,170,180 of the critic at 256² with one channel.

    Args:
        channels: C.
        size: spatial shape S of the input.
        width: filters of the generator's first level.
        levels: how often the generator halves the grid.
        critic_width: filters of the critic's first convolution.
        critic_levels: how often the critic halves the grid, at most 5; None is 5, or fewer where
            less than 4 px would be left.
        critic_steps: turns of the critic for one of the generator.
        adversarial: λ_a.
        reconstruction: λ_r.
        identity: λ_i.
        classification: λ_c.
        critic_adversarial: λ_a,d.
        critic_classification: λ_c,d.
        penalty: λ_gp, a weight of its own, as in the public code; in print it is multiplied by
            λ_a,d, which would be 200 here.
        translate: ``both``, the public code: each image is translated to both classes, the
            generator's adversarial and class losses are of both, the penalty looks between the
            image and both, and a translation counts as much as its class has images in the batch;
            or ``other``, as printed: to c̄ alone, the penalty between r and G_c(r).
        noise: largest uniform noise added to all that the critic sees; 0 is off (the thesis
            mentions none, the public code has 0.05 in images of [−1, 1]).
        eval_norm: what batch norm does in use: ``batch`` normalises each image by its own mean and
            variance, as the public code does (training mode, one image at a time), ``running`` by
            those of the training.
        output: ``linear``, or ``tanh``, mapped to [0, 1] for images in that range.

    Raises:
        ConfigError: an edge that cannot be halved so often, or another number of edges than two.

    Deviation: every turn has a batch of its own; validation watches the generator's loss and
    D_cls's, without the adversarial terms, whose size says nothing. The critic's activation (ReLU)
    is assumed. The output is linear instead of tanh: our intensities reach above 1.

    Examples:
        >>> import torch
        >>> from aberra.models.descargan import DeScarGAN
        >>> model = DeScarGAN(channels=1, size=(32, 32), width=4, critic_width=4).eval()
        >>> x = torch.rand(2, 1, 32, 32)
        >>> model.reconstruct(x).shape, model.classify(x).shape
        (torch.Size([2, 1, 32, 32]), torch.Size([2, 2]))
    """

    name = "descargan"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        size: Sequence[Edge],
        width: Width = 64,
        levels: Levels = 3,
        critic_width: Width = 32,
        critic_levels: Levels | None = None,
        critic_steps: Few = 5,
        adversarial: NotNegative = 1.0,
        reconstruction: NotNegative = 50.0,
        identity: NotNegative = 50.0,
        classification: NotNegative = 1.0,
        critic_adversarial: NotNegative = 20.0,
        critic_classification: NotNegative = 5.0,
        penalty: NotNegative = 10.0,
        translate: Literal["both", "other"] = "both",
        noise: NotNegative = 0.05,
        eval_norm: Literal["batch", "running"] = "batch",
        output: Literal["linear", "tanh"] = "linear",
    ) -> None:
        super().__init__()
        if len(size) != 2:
            raise ConfigError(
                f"model: descargan sees slices, not volumes ({len(size)} edges); set prepare.dims=2"
            )
        self.adversarial = adversarial
        self.reconstruction = reconstruction
        self.identity = identity
        self.classification = classification
        self.critic_adversarial = critic_adversarial
        self.critic_classification = critic_classification
        self.penalty = penalty
        self.translate_both = translate == "both"
        self.noise = noise
        self.bounded = output == "tanh"
        self.critic_turns = critic_turns(critic_steps)
        own = eval_norm == "batch"
        self.generator = Generator(channels=channels, size=size, width=width, levels=levels, own=own)
        self.critic = Critic(channels=channels, size=size, width=critic_width, levels=critic_levels)

    # -- what scores ask ---------------------------------------------------------------------------

    def translate(self, x: Tensor, target: Tensor) -> Tensor:
        """G_k(x), k each image's own: (B, C, S) and (B,) to (B, C, S)."""
        out: Tensor = self.generator(x, target)
        return (out.tanh() + 1) / 2 if self.bounded else out

    def reconstruct(self, x: Tensor) -> Tensor:
        """G_h(x): (B, C, S) to (B, C, S)."""
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
        the adversarial terms.
        """
        x, own = batch.x, self.label(batch.truth)
        if batch.turn == "critic":
            return self._critic_loss(x, own, batch.generator)
        made = self._translations(x)
        found = self._generator_loss(x, own, made, batch.generator)
        if batch.turn:
            return found
        of_real = F.cross_entropy(self.critic.logits(x), own)
        settled = found["loss"] - self.adversarial * found["adversarial"]
        return {"loss": settled + self.critic_classification * of_real, "real_class": of_real}

    def _translations(self, x: Tensor) -> Tensor:
        """To healthy and to diseased: (B, C, S) to (2, B, C, S)."""
        classes = torch.arange(CLASSES, device=x.device)
        return torch.stack([self.translate(x, each.expand(len(x))) for each in classes])

    def _judged(self, own: Tensor) -> list[tuple[Tensor, Tensor]]:
        """To which classes images are translated, (B,) each, and how much each image counts."""
        if not self.translate_both:
            return [(1 - own, torch.full(own.shape, 1 / len(own), device=own.device))]
        shares = torch.bincount(own, minlength=CLASSES) / len(own)
        return [
            (torch.full_like(own, number), (share / len(own)).expand(len(own)))
            for number, share in enumerate(shares)
        ]

    def _critic_loss(self, x: Tensor, own: Tensor, generator: Randomness) -> dict[str, Tensor]:
        with torch.no_grad():
            made = self._translations(x)
        seen = instance_noise(x, self.noise, generator)
        scores, logits = self.critic(seen)
        real = of_class(scores.T, own).mean()
        fake, slopes = torch.zeros_like(real), []
        for target, weight in self._judged(own):
            shown = instance_noise(of_class(made, target), self.noise, generator)
            fake = fake + (weight * self.critic.score(shown, target)).sum()
            # as printed: between r and G_c(r), by D_c
            where = target if self.translate_both else own
            other = shown if self.translate_both else of_class(made, own)
            slopes.append(
                gradient_penalty(lambda z, k=where: self.critic.score(z, k), seen, other, generator)  # type: ignore[misc]
            )
        slope, of_real = torch.stack(slopes).mean(), F.cross_entropy(logits, own)
        return {
            "loss": self.critic_adversarial * (fake - real)
            + self.penalty * slope
            + self.critic_classification * of_real,
            "distance": real - fake,
            "penalty": slope,
            "class": of_real,
        }

    def _generator_loss(
        self, x: Tensor, own: Tensor, made: Tensor, generator: Randomness
    ) -> dict[str, Tensor]:
        adversarial, told = x.new_zeros(()), x.new_zeros(())
        asked = self._judged(own)
        for target, _ in asked:
            shown = instance_noise(of_class(made, target), self.noise, generator)
            scores, logits = self.critic(shown)
            adversarial = adversarial - of_class(scores.T, target).mean() / len(asked)
            told = told + F.cross_entropy(logits, target) / len(asked)
        identity = F.mse_loss(of_class(made, own), x)
        cycle = F.mse_loss(self.translate(of_class(made, 1 - own), own), x)
        return {
            "loss": self.adversarial * adversarial
            + self.reconstruction * cycle
            + self.identity * identity
            + self.classification * told,
            "adversarial": adversarial,
            "cycle": cycle,
            "identity": identity,
            "class": told,
        }
