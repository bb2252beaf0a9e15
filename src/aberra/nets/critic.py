"""Critics for the Wasserstein distance, of images and of codes, and what they minimise.

Arjovsky, Chintala, Bottou 2017 (arXiv 1701.07875); gradient penalty: Gulrajani et al. 2017 (arXiv 1704.00028).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets import dense
from aberra.nets.unified import SLOPE, Encoder, inner_size
from aberra.options import Dims, Edge, Width, configured

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator

Network = Literal["unified", "original"]
NETWORKS: dict[Network, str] = {"unified": "unified", "original": "residual"}
"""The study's own network, and that of the publications that it compares with, to their names in :mod:`aberra.nets.dense`."""


def critic_turns(steps: int) -> tuple[str, ...]:
    """Turns of the critic for one of its opponent.

    Raises:
        ConfigError: none.
    """
    if steps < 1:
        raise ConfigError(f"model.critic_steps={steps}; expected 1 or more")
    return ("critic",) * steps


class Critic(nn.Module):
    """One number an image, high for real ones: (B, C, S) to (B,).

    A copy of the encoder of Baur et al. 2021 (:mod:`aberra.nets.unified`) with layer norm and a dense layer,
    or of the residual encoder (:mod:`aberra.nets.residual`). No batch norm: the gradient penalty is about one
    image at a time.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S.
        network: ``unified`` or ``original``.
        width: filters of the first stage; None is the publication's (32, original 64).

    Raises:
        ConfigError: unknown network or a size that cannot be halved.
    """

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims,
        size: Sequence[Edge],
        network: Network = "unified",
        width: Width | None = None,
    ) -> None:
        super().__init__()
        kind = NETWORKS[network]
        self.body: nn.Module
        if kind == "unified":
            width = dense.WIDTHS["unified"] if width is None else width
            encoder = Encoder(channels=channels, dims=dims, size=size, width=width, norm="layer")
            self.body = nn.Sequential(encoder, nn.Flatten())
            count = encoder.filters * prod(inner_size(size))
        else:
            self.body = deep = dense.encoder(kind, channels=channels, dims=dims, size=size, width=width)
            count = deep.features
        self.head = nn.Linear(count, 1)

    def features(self, x: Tensor) -> Tensor:
        """Input of the last layer, (B, F): what the critic looks at."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B,)."""
        score: Tensor = self.head(self.features(x))
        return score[:, 0]


def code_critic(latent: int) -> nn.Sequential:
    """Critic of codes, dense 100, 50, 1 with leaky ReLU ("Constrained AAE" of the study): (B, K) to (B,)."""
    return nn.Sequential(
        nn.Linear(latent, 100),
        nn.LeakyReLU(SLOPE),
        nn.Linear(100, 50),
        nn.LeakyReLU(SLOPE),
        nn.Linear(50, 1),
        nn.Flatten(0),
    )


def critic_loss(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: Generator, *, penalty: float
) -> dict[str, Tensor]:
    """L = E[D(fake)] − E[D(real)] + λ·E[(‖∇D‖₂ − 1)²], what a critic minimises.

    Args:
        critic: maps (B, …) to (B,), image by image.
        real: shape (B, …).
        fake: same shape; no gradient must flow into what made it.
        generator: of the places between real and fake where the penalty looks.
        penalty: λ; Gulrajani et al. have 10.

    Returns:
        ``loss``; ``distance``, the estimate of the Wasserstein distance; ``penalty``, without λ.
    """
    distance = (critic(real) - critic(fake)).mean()
    slope = gradient_penalty(critic, real, fake, generator)
    return {"loss": penalty * slope - distance, "distance": distance, "penalty": slope}


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: Generator
) -> Tensor:
    """E[(‖∇D(x̃)‖₂ − 1)²] at x̃ = x + u·(x̂ − x), one u ~ U[0, 1] an image; the norm is over all of an image (2.4, trap 4)."""
    share = torch.rand((len(real), *[1] * (real.ndim - 1)), generator=generator, device=real.device)
    between = (real + share * (fake - real)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slope: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return ((slope - 1) ** 2).mean()
