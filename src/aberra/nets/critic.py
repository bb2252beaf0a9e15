"""Critics for the Wasserstein distance, of images and of codes, and what they minimise.

Arjovsky, Chintala, Bottou 2017 (arXiv 1701.07875); gradient penalty: Gulrajani et al. 2017 (arXiv
1704.00028).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.unified import SLOPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator

    from aberra.nets.networks import Codes


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

    Args:
        network: gives the body, a copy of its encoder; a dense layer follows.

    Raises:
        ConfigError: a size that cannot be halved.
    """

    def __init__(self, network: Codes) -> None:
        super().__init__()
        self.body = network.critic()
        self.head = nn.Linear(self.body.features, 1)

    def features(self, x: Tensor) -> Tensor:
        """Input of the last layer, (B, F): what the critic looks at."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B,)."""
        score: Tensor = self.head(self.features(x))
        return score[:, 0]


def code_critic(latent: int) -> nn.Sequential:
    """Critic of codes, dense 100, 50, 1 with leaky ReLU ("Constrained AAE" of the study): (B, K) to
    (B,).
    """
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


def instance_noise(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Add amount · u, u ~ U[0, 1) at each value (Sønderby et al. 2017, arXiv 1610.04490, with
    Gaussian noise): a critic cannot tell images by what is smaller; 0 is off.
    """
    if not amount:
        return x
    return x + amount * torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: Generator
) -> Tensor:
    """E[(‖∇D(x̃)‖₂ − 1)²] at x̃ = x + u·(x̂ − x), one u ~ U[0, 1] an image; the norm is over all of
    an image (2.4, trap 4).
    """
    share = torch.rand((len(real), *[1] * (real.ndim - 1)), generator=generator, device=real.device)
    between = (real + share * (fake - real)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slope: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return ((slope - 1) ** 2).mean()
