"""A diffusion model of healthy and diseased images, with noise-aware guides and independent checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.diffusion.noise import NoiseKind
from aberra.diffusion.schedule import Kind, Predicts
from aberra.errors import ConfigError
from aberra.models.ddpm import DDPM, Loss
from aberra.nets.diffusion_unet import DiffusionEncoder, DiffusionUNet
from aberra.options import Dims, Edge, Few, Levels, Timesteps, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch

Guide = Literal["class", "area", "mask"]
GUIDES: tuple[Guide, ...] = get_args(Guide)
HEALTHY, DISEASED = 0, 1
"""Classes."""


class GuidedDDPM(DDPM):
    """Learns all images, and beside them networks that say at any noise level what is in an image; their gradient guides.

    Wolleb, Bieder, Sandkühler, Cattin 2022 (MICCAI, arXiv 2203.04306) and Wolleb et al. 2022 (arXiv
    2204.02641). A guide sees x_t at a random t, as the diffusion model does, and learns ``class`` (healthy or
    diseased, cross-entropy), ``area`` (lesion area / foreground area, squared error) or ``mask`` (the lesion,
    binary cross-entropy). Each guide has a checker of the same kind with its own weights and batches, which
    sees nearly clean images and never guides: whether an edit attained its aim is for the checker to say,
    since a guide's gradient may find adversarial changes.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        guides: which of ``class``, ``area`` and ``mask``; ``class`` always first.
        guide_width: filters of the guides' first level; the thesis has 32 (mask: the diffusion model's 128).
        guide_blocks: residual blocks a level of the guides; the thesis has 4.
        conditional: the diffusion model is told the class of half of the samples, and can be told one in use.
        width, multipliers, blocks, attention, timesteps, schedule, predicts, noise, learned_variance, loss_norm: of the diffusion
            model, as in :class:`aberra.models.ddpm.DDPM`.

    Raises:
        ConfigError: unknown guide, or no ``class``.

    Deviation: one training run for all networks, in turns, instead of one a network. A guide's t is T·u², u uniform, instead of uniform:
    guidance starts at half of T at most, and above it a small guide learned nothing that it could use. The checkers are ours; the thesis
    judges by eye.
    """

    name = "guided-ddpm"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        guides: Sequence[Guide] = ("class",),
        guide_width: Width = 32,
        guide_blocks: Levels = 1,
        conditional: bool = False,
        width: Width = 32,
        multipliers: Sequence[Few] = (1, 2, 2, 4),
        blocks: Levels = 1,
        attention: Sequence[Edge] = (8,),
        timesteps: Timesteps = 1000,
        schedule: Kind = "linear",
        predicts: Predicts = "noise",
        noise: NoiseKind = "gaussian",
        learned_variance: bool = False,
        loss_norm: Loss = "l2",
    ) -> None:
        super().__init__(
            channels=channels, dims=dims, size=size, width=width, multipliers=multipliers, blocks=blocks, attention=attention,
            timesteps=timesteps, schedule=schedule, predicts=predicts, noise=noise, learned_variance=learned_variance,
            loss_norm=loss_norm,
        )  # fmt: skip
        if "class" not in guides:
            raise ConfigError(
                f"model.guides={list(guides)}; expected 'class' among them, which says what is healthy"
            )
        if conditional:
            self.net.embed_class = nn.Embedding(2, 4 * width)
        self.conditional = conditional

        def network(name: str) -> nn.Module:
            kind = DiffusionUNet if name == "mask" else DiffusionEncoder
            return kind(
                channels=channels, out=2 if name == "class" else 1, dims=dims, size=size, width=guide_width,
                multipliers=tuple(multipliers), blocks=guide_blocks, attention=tuple(attention),
            )  # fmt: skip

        self.guides = nn.ModuleDict({name: network(name) for name in guides})
        self.checkers = nn.ModuleDict({name: network(name) for name in guides})

    # -- what scores and edits ask ---------------------------------------------------------------------------------

    def log_healthy(self, noisy: Tensor, t: int) -> Tensor:
        """Log p(healthy | x_t, t) of the guide, (B,)."""
        return F.log_softmax(self.told("class", noisy, t), dim=1)[:, HEALTHY]

    def checked_healthy(self, x: Tensor) -> Tensor:
        """Log p(healthy | x₀) of the checker, (B,)."""
        return F.log_softmax(self.told("class", x, 1, checker=True), dim=1)[:, HEALTHY]

    def told(self, name: str, noisy: Tensor, t: int, *, checker: bool = False) -> Tensor:
        """What a guide or checker says of x_t: logits (B, 2) of ``class``, ``area`` (B, 1), or logits (B, 1, S) of ``mask``."""
        steps = torch.full((len(noisy),), t, device=noisy.device)
        found: Tensor = (self.checkers if checker else self.guides)[name](noisy, steps)
        return found

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return (lesion.flatten(1).amax(dim=1) > 0).long()

    # -- learning --------------------------------------------------------------------------------------------------

    def turns(self, progress: float) -> Sequence[str]:  # noqa: ARG002 - always all
        """Every network moves in every step, each with a batch of its own."""
        return ("diffusion", *self.guides, *(f"{name}-checker" for name in self.checkers))

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Name to parameters."""
        moving = {"diffusion": self.net.parameters()}
        moving |= {name: net.parameters() for name, net in self.guides.items()}
        return moving | {f"{name}-checker": net.parameters() for name, net in self.checkers.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a turn; without one the sum of all, which validation watches."""
        x, generator, turn, lesion = batch.x, batch.generator, batch.turn, batch.truth
        if not turn:
            parts = [self.loss(batch._replace(turn=each))["loss"] for each in self.turns(0)]
            return {"loss": torch.stack(parts).sum()}
        if turn == "diffusion":
            label = None
            if self.conditional:  # untold half of the time, for guidance without a classifier
                untold = torch.rand(len(x), generator=generator, device=x.device) < 0.5
                label = self.label(lesion).masked_fill(untold, -1)
            return self.diffusion_loss(x, generator, label)
        name, _, checker = turn.partition("-")
        # checkers judge finished images: a tenth of the steps, at most, so that they do not hang on single pixels
        most = max(1, self.schedule.steps // 10) if checker else self.schedule.steps
        share = torch.rand(len(x), generator=generator, device=x.device)
        if not checker:  # half of the samples in the first quarter, where there is something to see
            share = share**2
        t = 1 + (share * most).long().clamp(max=most - 1)
        noisy = self.schedule.add_noise(x, torch.randn(x.shape, generator=generator, device=x.device), t)
        found = (self.checkers if checker else self.guides)[name](noisy, t).float()
        return {"loss": self._error(name, found, batch.mask, lesion)}

    def _error(self, name: str, found: Tensor, mask: Tensor, lesion: Tensor) -> Tensor:
        if name == "class":
            return F.cross_entropy(found, self.label(lesion))
        if name == "area":
            return F.mse_loss(found[:, 0], area(lesion, mask))
        return F.binary_cross_entropy_with_logits(found, lesion)

    @torch.no_grad()
    def quality(
        self, x: Tensor, mask: Tensor, lesion: Tensor, t: int, *, checker: bool = False
    ) -> dict[str, float]:
        """How good the guides are at step t: accuracy of ``class``, mean absolute error of ``area``, pooled Dice of ``mask``."""
        noisy = self.schedule.add_noise(x, self.noise(t, x), t)
        found = {}
        for name in self.guides:
            told = self.told(name, noisy, t, checker=checker)
            if name == "class":
                found["accuracy"] = float((told.argmax(dim=1) == self.label(lesion)).float().mean())
            elif name == "area":
                found["mae"] = float((told[:, 0] - area(lesion, mask)).abs().mean())
            else:
                drawn = told > 0
                found["dice"] = float(2 * (drawn * lesion).sum() / (drawn.sum() + lesion.sum()).clamp(min=1))
        return found


def area(lesion: Tensor, mask: Tensor) -> Tensor:
    """Lesion area / foreground area of each sample, (B, 1, S) to (B,)."""
    return lesion.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)
