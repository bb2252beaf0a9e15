"""Adversarial autoencoder, plain and constrained: a critic pulls the codes towards a standard
normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from aberra.nets.critic import code_critic, critic_loss, critic_turns
from aberra.nets.networks import Choice, VectorCodes, network_for
from aberra.options import Dims, Edge, Few, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch


class AAE(nn.Module):
    """An autoencoder whose codes, taken together, a critic cannot tell from N(0, I).

    Makhzani et al. 2015 (arXiv 1511.05644); Chen & Konukoglu 2018 (arXiv 1806.04972); Baur et al.
    2021 (arXiv 2004.03271), row "Constrained AAE". With z = Enc(x), x̂ = Dec(z) and n ~ N(0, I):

    - critic: E[D(z)] − E[D(n)] + λ·E[(‖∇D‖₂ − 1)²],
    - autoencoder: ‖x − x̂‖ − α·E[D(z)] + ρ‖z − Enc(x̂)‖²,

    norms summed over pixels or codes, mean over the batch.

    1,645,250 parameters at 128² with one channel, Chen's network 41,025,746; 18,001 of them are the
    critic's.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: of vectors: ``unified`` (the study) or ``residual`` (Chen's); its dropout acts on
            the code, too.
        latent: K.
        rho: ρ, the weight of the constraint; 0 is the plain adversarial autoencoder, 1 the
            constrained one.
        reconstruction: ``l1``, the study's text, or ``l2``, squared error (Chen & Konukoglu, the
            study's public code).
        adversarial_weight: α.
        critic_steps: turns of the critic for one of the autoencoder.
        penalty: λ of the gradient penalty.

    Raises:
        ConfigError: unknown option or network, a size that cannot be halved, or no turn for the
            critic.

    Deviation: no extra steps of the autoencoder in the first epochs, which the study's code has.
    Critic and constraint see the code before dropout, which is the code in use. The output is
    linear instead of tanh: our intensities reach above 1.
    """

    name = "aae"
    NETWORK: ClassVar = {"name": "unified"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        latent: Width = 128,
        rho: NotNegative = 0.0,
        reconstruction: Literal["l1", "l2"] = "l1",
        adversarial_weight: NotNegative = 1.0,
        critic_steps: Few = 5,
        penalty: NotNegative = 10.0,
    ) -> None:
        super().__init__()
        net = network_for(self, network, VectorCodes, channels=channels, dims=dims, size=size)
        self.latent = latent
        self.rho = rho
        self.power = 1 if reconstruction == "l1" else 2
        self.adversarial_weight = adversarial_weight
        self.critic_turns = critic_turns(critic_steps)
        self.penalty = penalty
        reads = net.encoder()
        self.encoder = nn.Sequential(reads, net.layer(reads.features, latent))
        self.dropout = nn.Dropout(net.dropout)
        self.decoder = net.decoder(latent)
        self.critic = code_critic(latent)

    def code(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, K)."""
        code: Tensor = self.encoder(x)
        return code

    def generate(self, z: Tensor) -> Tensor:
        """Decode codes, such as draws of the prior N(0, I): (B, K) to (B, C, S)."""
        out: Tensor = self.decoder(z)
        return out

    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one code, (K,)."""
        return (self.latent,)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        return self.generate(self.code(x))

    def turns(self, progress: float) -> Sequence[str]:
        """Several turns of the critic, then one of the autoencoder, to the end."""
        del progress
        return (*self.critic_turns, "autoencoder")

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Critic, and encoder with decoder."""
        return {
            "critic": self.critic.parameters(),
            "autoencoder": [*self.encoder.parameters(), *self.decoder.parameters()],
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; validation sees the autoencoder's."""
        x, generator = batch.x, batch.generator
        if batch.turn == "critic":
            with torch.no_grad():
                codes = self.code(x)
            prior = torch.randn(codes.shape, generator=generator, device=codes.device, dtype=codes.dtype)
            return critic_loss(self.critic, prior, codes, generator, penalty=self.penalty)
        code = self.code(x)
        restored = self.generate(self.dropout(code))
        reconstruction = ((x - restored).abs() ** self.power).flatten(1).sum(dim=1).mean()
        adversarial = -self.critic(code).mean()
        losses = {
            "loss": reconstruction + self.adversarial_weight * adversarial,
            "reconstruction": reconstruction,
            "adversarial": adversarial,
        }
        if self.rho:
            losses["constraint"] = ((code - self.code(restored)) ** 2).sum(dim=1).mean()
            losses["loss"] = losses["loss"] + self.rho * losses["constraint"]
        return losses
