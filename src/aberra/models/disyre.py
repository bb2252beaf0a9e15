"""Restoration of synthetic anomalies of any severity: cold diffusion with one step."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.diffusion.noise import draw
from aberra.diffusion.schedule import Schedule
from aberra.errors import ConfigError
from aberra.nets.networks import Choice, DiffusionUNet, network_for
from aberra.options import Dims, Edge, Few, Share, Timesteps, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator

    from aberra.batch import Batch


Change = Literal["change", "image"]


class DISYRE(nn.Module):
    """Learns to undo made-up anomalies, told how severe they are; asked with several severities, it
    undoes real ones.

    DISYRE v2: Naval Marimont, Siomos, Baugh, Tzelepis, Kainz, Tarroni 2024 (arXiv 2407.06635),
    after v1 (arXiv 2311.15453). The noise of a diffusion model is replaced by an anomaly whose
    shape m, texture x_fp and bias are drawn independently: ``x_t = x + α·m·(x_fp − x) +
    b·m·[intensity class of x chosen]``. f(x_t, t) → x learns with ``E ‖f(x_t, t) − x‖²`` in the
    foreground. The severity ``max(α, max |bias|)`` becomes the step
    ``t = argmin |√ᾱ_{T−t} − severity|`` of a linear schedule of T steps: t = 0 is the image itself,
    t = T wholly foreign. The published map is :class:`aberra.restore.draws.Draws` with four draws:
    the mean over four severities of ``|x − f(x, t)|``.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        network: ``diffusion-unet``.
        timesteps: T; the paper has 100.
        classes: intensity classes that a bias tells apart; the paper has 5.
        smallest: least mean radius of an anomaly over the longest edge of the image.
        largest: greatest mean radius over that edge; the paper's anomalies lie in patches of half
            the edge.
        predicts: ``change`` (the network's output is subtracted from its input) or ``image`` (the
            paper: it is the healthy image).

    Raises:
        ConfigError: unknown ``predicts``, radii out of order or of (0, 1/2], a count below 1 or a
            size that cannot be halved.

    Deviation: shapes are ellipsoids whose border wanders by smooth noise; v2 has a library of
    deformed anatomical shapes. Intensity classes are equal shares of the image's range instead of
    k-means of the cohort. Biases are cut at the image's darkest value only, since preparation
    leaves bright voxels above 1; the paper clips to [0, 1]. The loss is taken in the foreground
    instead of everywhere. The network predicts the change by default,
    as :class:`aberra.models.dae.DAE` does.
    """

    name = "disyre"
    NETWORK: ClassVar = {"name": "diffusion-unet"}

    PREDICTS: tuple[Change, ...] = get_args(Change)

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        network: Choice = None,
        timesteps: Timesteps = 100,
        classes: Few = 5,
        smallest: Share = 1 / 32,
        largest: Share = 1 / 4,
        predicts: Change = "change",
    ) -> None:
        super().__init__()
        if not 0 < smallest <= largest <= 0.5:
            raise ConfigError(
                f"model: smallest={smallest}, largest={largest}; expected shares of the edge, 0 < smallest ≤ largest ≤ 0.5"
            )
        self.schedule = Schedule(steps=timesteps)
        self.classes = classes
        self.smallest = smallest
        self.largest = largest
        self.predicts = predicts
        net = network_for(self, network, DiffusionUNet, channels=channels, dims=dims, size=size)
        self.net = net.unet(channels)

    # -- in use ------------------------------------------------------------------------------------

    def restore(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x, t): shape (B, C, S) and steps (B,), 0 to T, to (B, C, S)."""
        out: Tensor = self.net(x, t)
        return x - out if self.predicts == "change" else out

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """f(x, t) for ``count`` assumed severities, evenly spread from t = T down to T / ``count``:
        (B, C, S) each.
        """
        for number in range(count):
            t = round(self.schedule.steps * (count - number) / count)
            yield self.restore(x, torch.full((len(x),), t, device=x.device))

    # -- learning ----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the restored image in the foreground."""
        x, mask = batch.x, batch.mask
        sick, severity = self.corrupt(x, mask, batch.generator)
        error = (self.restore(sick, self.step(severity)).float() - x).square() * mask
        return {"loss": error.sum() / (mask.sum() * x.shape[1]).clamp(min=1)}

    def step(self, severity: Tensor) -> Tensor:
        """Severity (B,) in [0, 1] to t = argmin |√ᾱ_{T−t} − severity|, (B,); rises from 0 to T."""
        levels = self.schedule.alpha_bar.sqrt().flip(0).to(severity)
        return (levels - severity[:, None]).abs().argmin(dim=1)

    def corrupt(self, x: Tensor, mask: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw an anomaly for each image of a batch, (B, C, S), and plant it: image (B, C, S) and
        severity (B,).
        """
        offset, shape = self.shape(mask, generator)
        foreign = self.foreign(x, mask, offset, generator)
        each = [-1, 1, *[1] * (x.ndim - 2)]
        alpha = torch.rand(len(x), generator=generator, device=x.device).reshape(each)
        strength = 2 * torch.rand(x.shape[:2], generator=generator, device=x.device) - 1
        chosen = self.some_classes(x, shape, generator)
        bias = strength.reshape(*x.shape[:2], *each[2:]) * chosen
        return plant(x, shape, foreign=foreign, alpha=alpha, bias=bias)

    def shape(self, mask: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Where the anomalies are: distance to their centres in pixels, (B, axes, S), and m in [0,
        1], (B, 1, S), 0 in the background.

        The centre is uniform in the foreground, the radius log-uniform. The soft edge is two pixels
        wide.
        """
        spatial = mask.shape[2:]
        axes = [torch.arange(edge, device=mask.device, dtype=mask.dtype) for edge in spatial]
        here = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        each = [len(mask), -1, *[1] * len(spatial)]
        offset = here - self.places(mask, generator).reshape(each)
        low, high = log(self.smallest), log(self.largest)
        drawn = torch.rand(len(mask), 1 + len(spatial), generator=generator, device=mask.device)
        radius = max(spatial) * torch.exp(low + (high - low) * drawn[:, :1]).reshape(each)
        stretch = (0.6 + 0.8 * drawn[:, 1:]).reshape(each)
        distance = (offset / stretch).square().sum(dim=1, keepdim=True).sqrt()
        wander = draw("coarse", mask.shape, generator)
        depth = radius * (1 + 0.4 * wander) - distance
        return offset, (0.5 + 0.5 * depth).clamp(0, 1) * mask

    def foreign(self, x: Tensor, mask: Tensor, offset: Tensor, generator: Generator) -> Tensor:
        """x_fp, (B, C, S): another image of the batch, moved so that some place in its foreground
        comes to the centre, and rotated.

        In a batch of one it is the image itself. In 3-D it is rotated about the first axis.
        """
        images, spatial = len(x), x.shape[2:]
        shift = int(torch.randint(1, max(2, images), (), generator=generator, device=x.device))
        other, others = x.roll(shift, 0), mask.roll(shift, 0)
        angle = 2 * torch.pi * torch.rand(images, generator=generator, device=x.device)
        turn = torch.eye(len(spatial), device=x.device).repeat(images, 1, 1)
        turn[:, -2, -2] = turn[:, -1, -1] = angle.cos()
        turn[:, -2, -1], turn[:, -1, -2] = -angle.sin(), angle.sin()
        # not a matrix product: autocast would round coordinates to bf16
        each = [*turn.shape, *[1] * len(spatial)]
        where = (turn.reshape(each) * offset.unsqueeze(1)).sum(dim=2)
        where = where + self.places(others, generator).reshape(images, -1, *[1] * len(spatial))
        last = torch.tensor(spatial, device=x.device).sub(1).clamp(min=1)
        grid = 2 * where.movedim(1, -1) / last - 1
        return F.grid_sample(other, grid.flip(-1), align_corners=True)

    def some_classes(self, x: Tensor, shape: Tensor, generator: Generator) -> Tensor:
        """Intensity classes that are biased, in [0, 1], (B, C, S): each with its share of the
        anomaly as probability, all if none was drawn.

        Smoothed with a mean over three pixels, so that a bias has no steps.
        """
        axes = tuple(range(2, x.ndim))
        low, high = x.amin(dim=axes, keepdim=True), x.amax(dim=axes, keepdim=True)
        scaled = (x - low) / (high - low).clamp(min=1e-6)
        member = (scaled * self.classes).long().clamp(max=self.classes - 1)
        inside = shape > 0
        counts = torch.stack(
            [((member == each) & inside).flatten(2).sum(dim=2) for each in range(self.classes)], dim=2
        )
        share = counts / counts.sum(dim=2, keepdim=True).clamp(min=1)
        chosen = torch.rand(share.shape, generator=generator, device=x.device) < share
        chosen |= ~chosen.any(dim=2, keepdim=True)
        found = chosen.to(x.dtype).gather(2, member.flatten(2)).reshape(x.shape)
        pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
        return pool(found, 3, stride=1, padding=1, count_include_pad=False)

    @staticmethod
    def places(mask: Tensor, generator: Generator) -> Tensor:
        """An index in the foreground of each (B, 1, S), anywhere where there is none: (B, axes)."""
        flat = mask.flatten(1)
        flat = torch.where(flat.any(dim=1, keepdim=True), flat, 1.0)
        index = torch.multinomial(flat, 1, generator=generator)[:, 0]
        return torch.stack(torch.unravel_index(index, mask.shape[2:]), dim=1).to(mask.dtype)


def plant(x: Tensor, shape: Tensor, *, foreign: Tensor, alpha: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Blend a texture and a bias into images; outside m they stay as they are.

    Args:
        x: (B, C, S).
        shape: m in [0, 1], (B, 1, S).
        foreign: x_fp, (B, C, S); it is brought onto the image's range inside m first.
        alpha: weight of the texture, (B, 1, ...).
        bias: what is added, (B, C, S) or broadcast.

    Returns:
        The images, (B, C, S), and their severity max(α, largest change by the bias), (B,), at
        most 1.
    """
    inside = shape > 0
    (low, high), (from_low, from_high) = (_range(each, inside) for each in (x, foreign))
    fitted = low + (foreign - from_low) / (from_high - from_low).clamp(min=1e-6) * (high - low)
    textured = torch.where(inside, x + alpha * shape * (fitted - x), x)
    darkest = x.amin(dim=tuple(range(2, x.ndim)), keepdim=True)
    biased = torch.where(inside, torch.maximum(textured + shape * bias, darkest), x)
    changed = inside.flatten(1).any(dim=1)
    by_bias = (biased - textured).abs().flatten(1).amax(dim=1)
    return biased, torch.maximum(alpha.flatten() * changed, by_bias).clamp(max=1)


def _range(x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest value of each channel where ``inside``, (B, C, 1, ...)."""
    axes = tuple(range(2, x.ndim))
    low = torch.where(inside, x, torch.inf).amin(dim=axes, keepdim=True)
    return low, torch.where(inside, x, -torch.inf).amax(dim=axes, keepdim=True)
