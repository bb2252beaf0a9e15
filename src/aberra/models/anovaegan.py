"""AnoVAEGAN: a variational autoencoder whose decoder also has to please a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.models.vae import VAE, posterior_sample
from aberra.nets.critic import Critic, critic_loss, critic_turns
from aberra.options import Few, NotNegative, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Parameter

    from aberra.batch import Batch


class AnoVAEGAN(VAE):
    """A VAE with sharp reconstructions: its decoder is the generator of a Wasserstein GAN, which
    sees scans and reconstructions.

    Baur, Wiestler, Albarqouni, Navab 2018 (arXiv 1804.04488); Baur et al. 2021 (arXiv 2004.03271),
    row "AnoVAEGAN". In turn:

    - vae: ‖x − x̂‖₁ + β·KL(q(z|x) ‖ N(0, I)) moves encoder and decoder,
    - generator: −E[D(x̂)] moves the decoder,
    - critic: E[D(x̂)] − E[D(x)] + λ·E[(‖∇D‖₂ − 1)²],

    sums over pixels or latent dimensions, mean over the batch; x̂ decodes a sample of q(z|x).

    2,434,098 parameters at 128² with one channel; 675,649 of them are the critic's.

    Args:
        critic_steps: turns of the critic in a step.
        penalty: λ of the gradient penalty.

    Raises:
        ConfigError: a size that cannot be halved, or no turn for the critic.

    Deviation: each turn has a batch of its own, the study's share one. All else
    as :class:`aberra.models.vae.VAE`.
    """

    name = "anovaegan"

    @configured("model", extends=VAE)
    def __init__(self, *, critic_steps: Few = 5, penalty: NotNegative = 10.0, **options: Any) -> None:
        super().__init__(**options)
        self.critic_turns = critic_turns(critic_steps)
        self.penalty = penalty
        self.decoder = self.network.decoder(self.latent, norm="layer")
        self.critic = Critic(self.network)

    def features(self, x: Tensor) -> Tensor:
        """What the critic looks at: (B, C, S) to (B, F)."""
        return self.critic.features(x)

    def turns(self, progress: float) -> Sequence[str]:
        """The VAE, the generator, then several times the critic, to the end."""
        del progress
        return ("vae", "generator", *self.critic_turns)

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """The decoder belongs to two of them."""
        encoder = [*self.encoder.parameters(), *self.mean.parameters(), *self.log_variance.parameters()]
        return {
            "vae": [*encoder, *self.decoder.parameters()],
            "generator": self.decoder.parameters(),
            "critic": self.critic.parameters(),
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; validation sees the VAE's."""
        if batch.turn in ("", "vae"):
            return super().loss(batch)
        x, generator = batch.x, batch.generator
        with torch.no_grad():
            mean, log_variance = self.encode(x)
        code = posterior_sample(mean, log_variance, generator)
        if batch.turn == "generator":
            return {"loss": -self.critic(self.decode(code)).mean()}
        with torch.no_grad():
            restored = self.decode(code)
        return critic_loss(self.critic, x, restored, generator, penalty=self.penalty)
