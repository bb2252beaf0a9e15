"""f-AnoGAN: a Wasserstein GAN of healthy images, then an encoder that finds each image's code in
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.critic import Critic, critic_loss, critic_turns
from aberra.nets.networks import Choice, VectorCodes, network_for
from aberra.options import Between, Dims, Edge, Few, NotNegative, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch


class FAnoGAN(nn.Module):
    """The healthy version of an image is G(E(x)), the nearest that a generator of healthy images
    makes.

    Schlegl, Seeböck, Waldstein, Langs, Schmidt-Erfurth 2019 (Medical Image Analysis 54, doi
    10.1016/j.media.2019.01.010); Baur et al. 2021 (arXiv 2004.03271), row "f-AnoGAN". Two stages:

    1. z ~ N(0, I); critic E[D(G(z))] − E[D(x)] + λ·E[(‖∇D‖₂ − 1)²], generator −E[D(G(z))].
    2. G and D stay as they are; encoder ‖x − G(E(x))‖² / n + κ‖f(x) − f(G(E(x)))‖² / n_f ("izi_f"),
       f the critic's features and n, n_f the numbers of pixels and of features.

    2,302,898 parameters at 128² with one channel (E 800,720, G 826,529, D 675,649), Schlegl's
    network 29,184,450.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: of vectors: ``unified`` (the study; without dropout unless it is set) or
            ``residual`` (Schlegl's).
        latent: K; None is the publication's (128, ``residual`` 64).
        gan_share: share of the training steps that the first stage takes.
        critic_steps: turns of the critic for one of the generator.
        penalty: λ of the gradient penalty.
        encoder_loss: ``izif``, or ``izi``, its first term alone.
        kappa: κ, by default 1; only with ``izif``.
        code: ``tanh`` keeps the encoder's codes in (−1, 1), where the prior is dense (the study's
            code), or ``linear`` (Schlegl's).
        output: ``linear``, or ``sigmoid``, for images in [0, 1] (the study's code).

    Raises:
        ConfigError: unknown option or network, a size that cannot be halved, a share outside (0, 1)
            or no turn for the critic.

    Deviation: the output is linear by default; our intensities reach above 1.
    """

    name = "fanogan"
    NETWORK: ClassVar = {"name": "unified", "dropout": 0.0}
    LATENTS: ClassVar = {"residual": 64}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        latent: Width | None = None,
        gan_share: Between = 0.6,
        critic_steps: Few = 5,
        penalty: NotNegative = 10.0,
        encoder_loss: Literal["izi", "izif"] = "izif",
        kappa: NotNegative | None = None,
        code: Literal["linear", "tanh"] = "tanh",
        output: Literal["linear", "sigmoid"] = "linear",
    ) -> None:
        super().__init__()
        net = network_for(self, network, VectorCodes, channels=channels, dims=dims, size=size)
        self.latent = self.LATENTS.get(net.name, 128) if latent is None else latent
        self.gan_share = gan_share
        self.critic_turns = critic_turns(critic_steps)
        self.penalty = penalty
        if encoder_loss == "izi" and kappa is not None:
            raise ConfigError(
                f"model.kappa={kappa:g}: does nothing with encoder_loss='izi', only with izif; leave it out"
            )
        self.kappa = {"izi": 0.0, "izif": 1.0}[encoder_loss] if kappa is None else kappa
        reads = net.encoder()
        bounded = nn.Tanh() if code == "tanh" else nn.Identity()
        self.encoder = nn.Sequential(reads, net.layer(reads.features, self.latent), bounded)
        self.generator = nn.Sequential(
            net.decoder(self.latent, norm="layer"),
            nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
        )
        self.critic = Critic(net)

    def code(self, x: Tensor) -> Tensor:
        """E(x): (B, C, S) to (B, K)."""
        code: Tensor = self.encoder(x)
        return code

    def generate(self, z: Tensor) -> Tensor:
        """G(z): (B, K) to (B, C, S)."""
        out: Tensor = self.generator(z)
        return out

    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one code, (K,)."""
        return (self.latent,)

    def reconstruct(self, x: Tensor) -> Tensor:
        """G(E(x)): (B, C, S) to (B, C, S)."""
        return self.generate(self.code(x))

    def features(self, x: Tensor) -> Tensor:
        """f(x), what the critic looks at: (B, C, S) to (B, F)."""
        return self.critic.features(x)

    def turns(self, progress: float) -> Sequence[str]:
        """The GAN up to ``gan_share``, then the encoder."""
        if progress < self.gan_share:
            return (*self.critic_turns, "generator")
        return ("encoder",)

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Critic, generator and encoder, none of which shares a parameter."""
        return {
            "critic": self.critic.parameters(),
            "generator": self.generator.parameters(),
            "encoder": self.encoder.parameters(),
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; validation sees ‖x − G(E(x))‖₁, which means something in the second stage
        only.
        """
        x, generator, turn = batch.x, batch.generator, batch.turn
        if turn in ("critic", "generator"):
            z = torch.randn((len(x), self.latent), generator=generator, device=x.device, dtype=x.dtype)
            if turn == "generator":
                return {"loss": -self.critic(self.generate(z)).mean()}
            with torch.no_grad():
                fake = self.generate(z)
            return critic_loss(self.critic, x, fake, generator, penalty=self.penalty)
        restored = self.reconstruct(x)
        reconstruction = (x - restored).abs().flatten(1).sum(dim=1).mean()
        if not turn:
            return {"loss": reconstruction, "reconstruction": reconstruction}
        error, of_features = ((x - restored) ** 2).mean(), torch.zeros_like(reconstruction)
        if self.kappa:
            of_features = ((self.features(x) - self.features(restored)) ** 2).mean()
        return {
            "loss": error + self.kappa * of_features,
            "reconstruction": reconstruction,
            "features": of_features,
        }
