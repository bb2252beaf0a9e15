"""Denoising diffusion model of healthy images: one network, many scores."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from math import log
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from aberra.covariates import Covariate
from aberra.devices import takes_bf16
from aberra.diffusion.noise import NoiseKind, draw, shared
from aberra.diffusion.schedule import Kind, Predicts, Schedule
from aberra.errors import ConfigError
from aberra.nets.networks import Choice, DiffusionUNet, network_for
from aberra.options import Dims, Edge, Timesteps, Width, configured

if TYPE_CHECKING:
    from torch import Generator

    from aberra.batch import Batch
    from aberra.diffusion.schedule import Estimate

Loss = Literal["l2", "l1"]

UNTOLD = 0.2
"""Share of the conditions that are not told in training, so that the model knows images without
them, too (Ho & Salimans 2021, arXiv 2207.12598, p_uncond of 0.1 to 0.2)."""


class DDPM(nn.Module):
    """Learns to take noise of any strength out of healthy images; what it would put in place of a
    lesion is the healthy version.

    Ho, Jain, Abbeel 2020 (arXiv 2006.11239): ``E ‖ε − ε_θ(√ᾱ_t·x₀ + √(1 − ᾱ_t)·ε, t)‖²``, t uniform
    in 1 ... T. With ``learned_variance`` the hybrid loss of Nichol & Dhariwal 2021 (eq. 16): the
    variational bound of a random step, in bits a pixel, is added, its gradient stopped at the mean.

    With ``conditions`` the network is told what is known of the person: the healthy version is then
    that of a person of this age and sex. Their embedding is added to that of the step; what is
    unknown, and a fifth of what is known in training, is told as unknown.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: ``diffusion-unet``.
        timesteps: T.
        schedule: ``linear``, ``cosine`` or ``log-snr``;
            see :class:`aberra.diffusion.schedule.Schedule`.
        predicts: ``noise``, ``image`` or ``velocity``.
        noise: ``gaussian``, ``coarse``, ``pyramid`` or ``simplex``;
            see :func:`aberra.diffusion.noise.draw`.
        learned_variance: learn the variance of the reverse steps, too.
        loss_norm: ``l2`` or ``l1``, over the whole image.
        conditions: columns of the manifest that the network is told: ``age``, ``sex`` or both.

    Raises:
        ConfigError: unknown option or network, or a learned variance with other than Gaussian
            noise.
    """

    name = "ddpm"
    NETWORK: ClassVar[dict[str, Any]] = {"name": "diffusion-unet"}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        timesteps: Timesteps = 1000,
        schedule: Kind = "linear",
        predicts: Predicts = "noise",
        noise: NoiseKind = "gaussian",
        learned_variance: bool = False,
        loss_norm: Loss = "l2",
        conditions: Sequence[Covariate] = (),
    ) -> None:
        super().__init__()
        if learned_variance and noise != "gaussian":
            raise ConfigError(
                f"model.noise={noise} with model.learned_variance: the bound is that of Gaussian noise"
            )
        self.schedule = Schedule(kind=schedule, steps=timesteps)
        self.predicts = predicts
        self.kind = noise
        self.learned_variance = learned_variance
        self.loss_norm = loss_norm
        self.conditions = tuple(conditions)
        self.person: Tensor | None = None
        self.network = network_for(self, network, DiffusionUNet, channels=channels, dims=dims, size=size)
        self.net = self.network.unet(
            channels * (2 if learned_variance else 1), conditions=len(self.conditions)
        )

    # -- who is asked about --------------------------------------------------------------------------

    @property
    def covariates(self) -> Sequence[str]:
        """What its batches have as ``covariates``."""
        return self.conditions

    def given(self, values: Sequence[float]) -> Self:
        """The same model, weights shared, told the conditions of one person; see
        :class:`aberra.capabilities.TakesConditions`.
        """
        other = copy(self)
        other.person = torch.tensor([list(values)], dtype=torch.float32)
        return other

    def _of_person(self, like: Tensor) -> Tensor | None:
        """Conditions of the person for a batch, (B, K), all unknown where nobody was named."""
        if not self.conditions:
            return None
        person = torch.full((1, len(self.conditions)), torch.nan) if self.person is None else self.person
        return person.to(like.device).expand(len(like), -1)

    # -- what scores ask ---------------------------------------------------------------------------

    def process(self) -> Schedule:
        """The schedule of the noise."""
        return self.schedule

    def noise(self, seed: int, like: Tensor) -> Tensor:
        """Noise number ``seed`` of the kind it was trained with, (1, C, S), shared by the batch."""
        return shared(self.kind, seed, like)

    def denoise(
        self, noisy: Tensor, t: int, label: Tensor | int | None = None, context: Tensor | None = None
    ) -> Estimate:
        """Estimate image and noise in x_t, shape (B, C, S), beside a noise-free context (B, C', S)
        where there is one.

        One call of the network, in bf16 on GPUs that compute in it.
        """
        steps = torch.full((len(noisy),), t, device=noisy.device)
        labels = torch.full_like(steps, label) if isinstance(label, int) else label
        with torch.autocast("cuda", torch.bfloat16, enabled=takes_bf16(noisy.device)):
            output = self.net(_beside(context, noisy).float(), steps, labels, self._of_person(noisy))
        told, spread = self._parts(output.float())
        found = self.schedule.estimate(told, noisy, t, self.predicts)
        return replace(found, spread=None if spread is None else spread.clamp(0, 1))

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Encoder features of a clean image (t = 1), finest first: (B, F, S / 2ᵏ)."""
        return self.net.features(x, torch.ones(len(x), device=x.device), self._of_person(x))

    # -- learning ----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Error of the prediction at a random step, and the bound of the learned variance."""
        return self.diffusion_loss(batch.x, batch.generator, covariates=batch.covariates)

    def diffusion_loss(
        self,
        x: Tensor,
        generator: Generator,
        label: Tensor | None = None,
        context: Tensor | None = None,
        covariates: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of images (B, C, S), told a class (B,) and covariates (B, K), or shown a
        noise-free context (B, C', S) where there is one.
        """
        conditions = None
        if self.conditions and covariates is not None:
            conditions = covariates[:, : len(self.conditions)]
            untold = torch.rand(conditions.shape, generator=generator, device=x.device) < UNTOLD
            conditions = conditions.masked_fill(untold, torch.nan)
        t = torch.randint(1, self.schedule.steps + 1, (len(x),), generator=generator, device=x.device)
        noise = draw(self.kind, x.shape, generator)
        noisy = self.schedule.add_noise(x, noise, t)
        told, spread = self._parts(self.net(_beside(context, noisy), t, label, conditions).float())
        simple = self.penalty(told - self.schedule.target(x, noise, t, self.predicts)).mean()
        if spread is None:
            return {"loss": simple}
        found = self.schedule.estimate(told.detach(), noisy, t, self.predicts)
        bound = variational_bound(self.schedule, x, noisy, t, found=found.image, spread=spread).mean()
        return {"loss": simple + bound, "reconstruction": simple, "bound": bound}

    def penalty(self, error: Tensor) -> Tensor:
        """Square or absolute value of an error, any shape, as ``loss_norm`` says."""
        return error.square() if self.loss_norm == "l2" else error.abs()

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the network predicts, and v of the learned variance, about [0, 1]; each (B, C, S)."""
        if not self.learned_variance:
            return output, None
        told, spread = output.chunk(2, dim=1)
        return told, (spread + 1) / 2


def _beside(context: Tensor | None, noisy: Tensor) -> Tensor:
    return noisy if context is None else torch.cat([context, noisy], dim=1)


def variational_bound(
    schedule: Schedule, image: Tensor, noisy: Tensor, t: Tensor, *, found: Tensor, spread: Tensor
) -> Tensor:
    """L_t in bits a pixel, (B,): KL(q(x_{t−1} | x_t, x₀) ‖ p_θ); at t = 1 −log p_θ(x₀ | x₁) of a
    bin of 1/255 (Ho et al. 2020, eq. 13).

    Args:
        schedule: of the process.
        image: x₀, (B, C, S).
        noisy: x_t.
        t: (B,).
        found: x̂₀; detach it so that only the variance learns.
        spread: v of the learned variance.
    """
    true, low, high = schedule.posterior(image, noisy, t, t - 1)
    mean, _, _ = schedule.posterior(found, noisy, t, t - 1)
    # β̃₁ is 0; the first step takes β̃₂, as Nichol & Dhariwal do
    _, second, _ = schedule.posterior(image, noisy, torch.full_like(t, 2), torch.ones_like(t))
    low = torch.where(low > 0, low, second).log()
    log_variance = spread * high.log() + (1 - spread) * low
    kl = 0.5 * (log_variance - low - 1 + (low - log_variance).exp() + (true - mean) ** 2 / log_variance.exp())
    deviation = torch.exp(-0.5 * log_variance)
    upper, lower = ((image - mean + edge) * deviation for edge in (1 / 255, -1 / 255))
    mass = (torch.special.ndtr(upper) - torch.special.ndtr(lower)).clamp(min=1e-12)
    first = (t == 1).reshape(-1, *[1] * (image.ndim - 1))
    return torch.where(first, -mass.log(), kl).flatten(1).mean(dim=1) / log(2)
