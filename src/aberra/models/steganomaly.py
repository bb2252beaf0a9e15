"""SteGANomaly: a CycleGAN to simulated scans and back, whose generators may hide nothing on the
way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.nets.cyclegan import Generator, PatchCritic
from aberra.nets.low_pass import LowPass
from aberra.options import Count, Dims, Edge, Levels, NotNegative, Sigma, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch


class SteGANomaly(nn.Module):
    """The healthy version of a scan is what comes back of it from a world that is simpler.

    Baur, Graf, Wiestler, Albarqouni, Navab 2020, "SteGANomaly: Inhibiting CycleGAN Steganography
    for Unsupervised Anomaly Detection in Brain MRI" (MICCAI), after Zhu et al. 2017 (CycleGAN,
    arXiv 1703.10593) and Chu et al. 2017 (its steganography, arXiv 1712.02950). x are real healthy
    slices, y simulated ones of few details, unpaired; G goes from x to y, F back, and S inhibits::

        L_GF = E[(D_y(G(x)) − 1)²] + E[(D_x(F(y)) − 1)²]
               + λ (E‖F(S(G(x))) − x‖₁ + E‖G(F(y)) − y‖₁ + ι (E‖G(y) − y‖₁ + E‖F(x) − x‖₁)),
        L_D  = ½ (E[(D_y(y) − 1)²] + E[D_y(G(x))²]) + ½ (E[(D_x(x) − 1)²] + E[D_x(F(y))²]),

    norms being means over pixels and D's over patches. A simulated slice has no room for what is
    special about a scan, so G hides it in patterns too faint for D_y, and F finds it there: lesions
    may come back, too. S, a Gaussian low-pass or noise, takes the patterns out. The healthy version is
    F(S(G(x))).

    With 6 blocks and width 64 7,837,699 parameters a generator of 3 channels, 2,764,737 a critic.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        width: filters of the generators' first layer; Zhu et al. have 64.
        blocks: residual blocks of a generator; they have 9 at 256² and 6 at 128².
        critic_width: filters of the critics' first layer; they have 64.
        critic_layers: layers of stride 2 in a critic; 3 judge patches of 70 × 70 pixels.
        sigma: σ of the low-pass S in pixels; 0 is none.
        noise: standard deviation of the white noise that S adds in its place; 0 is none.
        cycle_weight: λ.
        identity_weight: ι; 0 is off. Zhu et al.'s code has 0.5.
        phantoms: how many simulated brains y is drawn from.
        detail: share of the phantoms' own texture, noise, shading and blur that y has; 0 is smooth
            tissue.

    Raises:
        ConfigError: both ``sigma`` and ``noise``, or a size that cannot be halved so often.

    Deviation: the batch's own images stand in for the history of 50 that Zhu et al. show their
    critics, who have batches of one; a history would be patients' pictures in a checkpoint. The
    paper's simulated cohort is a data set; ours are phantoms (:mod:`aberra.synthesis.phantom`).

    Examples:
        >>> import torch
        >>> from aberra.models.steganomaly import SteGANomaly
        >>> model = SteGANomaly(channels=1, size=(32, 32), width=4, blocks=1, critic_layers=2)
        >>> x = torch.rand(2, 1, 32, 32)
        >>> model.reconstruct(x).shape, model.to_simulated(x).shape
        (torch.Size([2, 1, 32, 32]), torch.Size([2, 1, 32, 32]))
    """

    name = "steganomaly"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        width: Width = 32,
        blocks: Levels = 6,
        critic_width: Width = 32,
        critic_layers: Levels = 3,
        sigma: Sigma = 2.0,
        noise: NotNegative = 0.0,
        cycle_weight: NotNegative = 10.0,
        identity_weight: NotNegative = 0.5,
        phantoms: Count = 24,
        detail: NotNegative = 0.0,
    ) -> None:
        super().__init__()
        if sigma and noise:
            raise ConfigError(
                f"model.noise={noise:g}: noise stands in place of the low-pass; set model.sigma=0 with it"
            )
        image: dict[str, Any] = {"channels": channels, "dims": dims, "size": size}
        self.noise = noise
        self.cycle_weight = cycle_weight
        self.identity_weight = identity_weight
        self.simulates = {"count": phantoms, "detail": detail}
        self.to_simulated = Generator(**image, width=width, blocks=blocks)
        self.to_real = Generator(**image, width=width, blocks=blocks)
        self.simulated_critic = PatchCritic(**image, width=critic_width, layers=critic_layers)
        self.real_critic = PatchCritic(**image, width=critic_width, layers=critic_layers)
        self.low_pass = LowPass(size, sigma)

    def simulation(self) -> Mapping[str, Any]:
        """How many phantoms the other domain has, and how much of their detail."""
        return self.simulates

    def cycle(self, x: Tensor, *, inhibited: bool = True) -> Tensor:
        """F(S(G(x))), or F(G(x)): (B, C, S) to (B, C, S). Noise is number 0, shared by a batch."""
        translated = self.to_simulated(x)
        if inhibited:
            translated = self.low_pass(translated)
            if self.noise:
                translated = translated + self.noise * shared("gaussian", 0, translated)
        out: Tensor = self.to_real(translated)
        return out

    def reconstruct(self, x: Tensor) -> Tensor:
        """F(S(G(x))): (B, C, S) to (B, C, S)."""
        return self.cycle(x)

    def turns(self, progress: float) -> Sequence[str]:
        """Both generators, then both critics, to the end."""
        del progress
        return ("generators", "critics")

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Each two are one."""
        return {
            "generators": [*self.to_simulated.parameters(), *self.to_real.parameters()],
            "critics": [*self.simulated_critic.parameters(), *self.real_critic.parameters()],
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; validation sees ‖F(S(G(x))) − x‖₁."""
        x = batch.x
        if not batch.turn:
            back = _error(self.reconstruct(x), x)
            return {"loss": back, "reconstruction": back}
        y = batch.counterparts
        if batch.turn == "critics":
            with torch.no_grad():
                simulated, real = self.to_simulated(x), self.to_real(y)
            of_simulated = (_is(1, self.simulated_critic(y)) + _is(0, self.simulated_critic(simulated))) / 2
            of_real = (_is(1, self.real_critic(x)) + _is(0, self.real_critic(real))) / 2
            return {"loss": of_simulated + of_real, "simulated": of_simulated, "real": of_real}
        simulated, real = self.to_simulated(x), self.to_real(y)
        adversarial = _is(1, self.simulated_critic(simulated)) + _is(1, self.real_critic(real))
        inhibited = self.low_pass(simulated)
        if self.noise:
            drawn = torch.randn(x.shape, generator=batch.generator, device=x.device, dtype=x.dtype)
            inhibited = inhibited + self.noise * drawn
        reconstruction, back = _error(self.to_real(inhibited), x), _error(self.to_simulated(real), y)
        losses = {"adversarial": adversarial, "reconstruction": reconstruction, "simulated": back}
        cycle = reconstruction + back
        if self.identity_weight:
            losses["identity"] = _error(self.to_simulated(y), y) + _error(self.to_real(x), x)
            cycle = cycle + self.identity_weight * losses["identity"]
        return {"loss": adversarial + self.cycle_weight * cycle, **losses}


def _error(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs().mean()


def _is(target: float, judged: Tensor) -> Tensor:
    """Least squares (Mao et al. 2017) against 1, real, or 0, made up."""
    return ((judged - target) ** 2).mean()
