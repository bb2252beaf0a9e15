"""Patched diffusion model: a box of noise, the rest of the image as context."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.diffusion.noise import NoiseKind, draw
from aberra.errors import ConfigError
from aberra.models.ddpm import DDPM, Loss
from aberra.nets.networks import Choice
from aberra.options import Edge, ShareAboveZero, ShareBelowOne, configured
from aberra.registry import network_of

if TYPE_CHECKING:
    from aberra.batch import Batch


class PatchedDDPM(nn.Module):
    """Learns to take noise out of one box of an image while the rest of it is in plain sight; box
    by box it restores a whole image.

    Behrendt, Bhattacharya, Krüger, Opfer, Schlaefer 2023 (MIDL, arXiv 2303.03758): inside a box of
    half the edge the image is x_t, outside it stays x₀; the network predicts x₀.
    ``E ‖b·(x₀ − f(b·x_t + (1 − b)·x₀, t))‖₁`` over the box b, one of a fixed grid, as in the
    authors' released configuration ("loss calculation only for the patched region"). In use it is
    asked by :class:`aberra.restore.patched_diffusion.PatchedDiffusion`.

    Args:
        size: spatial shape S of the input; the paper has 96². Simplex noise is for images only.
        network: ``diffusion-unet``, here of three levels by default.
        box: edge of a box over that of the image, axis by axis; the paper has 48 of 96.
        overlap: least share of a box that neighbours share; where boxes overlap, what they say is
            averaged. The paper has 0.
        noise, loss_norm: as in :class:`aberra.models.ddpm.DDPM`; the paper has ``simplex`` and
            ``l1``.

    Raises:
        ConfigError: a box or overlap out of range, or an unknown option.

    Deviation: each box has a noise of its own, fixed and shared by all images; the released code
    draws one noise an image. All else as :class:`aberra.models.ddpm.DDPM`.
    """

    name = "pddpm"
    NETWORK: ClassVar[dict[str, Any]] = DDPM.NETWORK | {"multipliers": (1, 2, 2)}

    @configured("model", extends=DDPM, without=("predicts", "learned_variance", "conditions"))
    def __init__(
        self,
        *,
        size: Sequence[Edge],
        network: Choice = None,
        box: ShareAboveZero = 0.5,
        overlap: ShareBelowOne = 0.0,
        noise: NoiseKind = "simplex",
        loss_norm: Loss = "l1",
        **options: Any,
    ) -> None:
        super().__init__()
        # not a subclass: noise all over the image, which scores of diffusion models put there, is
        # nothing this network knows
        net = network_of(type(self), network)
        self.ddpm = DDPM(
            size=size, network=net, predicts="image", noise=noise, loss_norm=loss_norm, **options
        )
        self.boxes: Tensor
        self.register_buffer("boxes", grid_of_boxes(size, box, overlap), persistent=False)

    def restore_boxes(self, x: Tensor, start: int) -> Tensor:
        """Shape (B, C, S) to (B, C, S), one call of the network a box, noised to step ``start``;
        box number n has noise number n.

        Raises:
            ConfigError: a start beyond T.
        """
        schedule = self.ddpm.schedule
        if start > schedule.steps:
            raise ConfigError(f"score.restore.start={start}: expected 1 to {schedule.steps}, model.timesteps")
        total = torch.zeros_like(x, dtype=torch.float32)
        for number, box in enumerate(self.boxes):
            noisy = schedule.add_noise(x, self.ddpm.noise(number, x), start)
            total = total + box * self.ddpm.denoise(torch.where(box > 0, noisy, x), start).image
        return total / self.boxes.sum(dim=0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Error of the predicted image in one box an image, drawn from the grid, at a random step."""
        ddpm, x, generator = self.ddpm, batch.x, batch.generator
        picks = torch.randint(len(self.boxes), (len(x),), generator=generator, device=x.device)
        t = torch.randint(1, ddpm.schedule.steps + 1, (len(x),), generator=generator, device=x.device)
        box = self.boxes[picks]
        noisy = ddpm.schedule.add_noise(x, draw(ddpm.kind, x.shape, generator), t)
        error = ddpm.net(torch.where(box > 0, noisy, x), t).float() - x
        return {"loss": (ddpm.penalty(error) * box).sum() / (box.sum() * x.shape[1])}


def grid_of_boxes(size: Sequence[int], share: float, overlap: float) -> Tensor:
    """Boxes that cover an image, evenly spread: (N, 1, S), 1 inside and 0 outside.

    Args:
        size: S.
        share: edge of a box over that of the image, axis by axis.
        overlap: least share of a box that neighbours share.
    """
    lines = []
    for length in size:
        edge = max(1, round(share * length))
        count = 1 + ceil((length - edge) / max(1, int(edge * (1 - overlap))))
        lows = torch.linspace(0, length - edge, count).round()
        index = torch.arange(length)
        lines.append(((index >= lows[:, None]) & (index < lows[:, None] + edge)).float())
    boxes = []
    for along in product(*lines):
        box = torch.ones(())
        for line in along:
            box = box[..., None] * line
        boxes.append(box[None])
    return torch.stack(boxes)
