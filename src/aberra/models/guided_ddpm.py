"""A diffusion model of healthy and diseased images, with noise-aware guides and independent
checkers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.covariates import COVARIATES, of_site
from aberra.diffusion.guidance import GUIDES, HEALTHY, Guide
from aberra.errors import ConfigError
from aberra.kinds import diseased
from aberra.models.ddpm import DDPM
from aberra.nets.sphere import FASTER, SphereGuide
from aberra.options import Edge, Levels, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch


CODE = 128
"""Numbers of the code of a guide that learns to ignore the scanner."""


class GuidedDDPM(DDPM):
    """Learns all images, and beside them networks that say at any noise level what is in an image;
    their gradient guides.

    Wolleb, Bieder, Sandkühler, Cattin 2022 (MICCAI, arXiv 2203.04306) and Wolleb et al. 2022 (arXiv
    2204.02641). A guide sees x_t at a random t, as the diffusion model does, and learns ``class``
    (healthy or diseased, cross-entropy), ``area`` (lesion area / foreground area, squared error),
    ``age`` (of the manifest, standardised, squared error; images of unknown age teach it nothing)
    or ``mask`` (the lesion, binary cross-entropy). Each guide has a checker of the same kind with its
    own weights and batches, which sees nearly clean images and never guides: whether an edit
    attained its aim is for the checker to say, since a guide's gradient may find adversarial
    changes.

    Args:
        guides: which of ``class``, ``area``, ``mask`` and ``age``. Maps ask for ``class``, which
            says what is healthy; a model without it is for edits only.
        guide_width: filters of the guides' first level; the thesis has 32 (mask: the diffusion
            model's 128).
        guide_blocks: residual blocks a level of the guides; the thesis has 4.
        guide_attention: the guides attend at the levels whose longest edge is one of these; empty
            is the diffusion model's. The thesis has 32, 16 and 8 at 256².
        conditional: the diffusion model is told the class of half of the samples, and can be told
            one in use.
        target: the value of the manifest's column ``site`` of the people that the guide of the
            class is for: it and its checker learn to ignore the scanner
            (:class:`aberra.nets.sphere.SphereGuide`, Wolleb et al. 2022, arXiv 2110.06803), and
            every batch has two samples of the target more. Empty: they learn by cross-entropy.

    Raises:
        ConfigError: unknown guide or none, or one is asked that is not there.

    Deviation: one training run for all networks, in turns, instead of one a network. A guide's t is
    T·u², u uniform, instead of uniform: guidance starts at half of T at most, and above it a small
    guide learned nothing that it could use. The checkers are ours; the thesis judges by eye. All
    else as :class:`aberra.models.ddpm.DDPM`; guides have its network, too, in a width of their own.

    With the thesis' networks (``wolleb2022-ddim``), 4 channels at 256²: 113,681,160 parameters, the
    guide of the class 5,452,962.
    """

    name = "guided-ddpm"

    @configured("model", extends=DDPM)
    def __init__(
        self,
        *,
        guides: Sequence[Guide] = ("class",),
        guide_width: Width = 32,
        guide_blocks: Levels = 1,
        guide_attention: Sequence[Edge] = (),
        conditional: bool = False,
        target: str = "",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not guides:
            raise ConfigError(f"model.guides=[]; expected some of {', '.join(GUIDES)}")
        if conditional:
            self.net.embed_class = nn.Embedding(2, 4 * self.network.width)
        self.conditional = conditional

        attention = guide_attention or self.network.attention
        guiding = replace(self.network, width=guide_width, blocks=guide_blocks, attention=attention)

        if target and "class" not in guides:
            raise ConfigError(
                f"model.target={target}: it is the guide of the class that learns to ignore the scanner; model.guides has none"
            )
        self.target = target
        self.anchor = "".join(of_site(target))

        def guide(name: str) -> nn.Module:
            if target and name == "class":
                return SphereGuide(guiding.encoder(CODE), CODE)
            return guiding.unet(1) if name == "mask" else guiding.encoder(2 if name == "class" else 1)

        self.guides = nn.ModuleDict({name: guide(name) for name in guides})
        self.checkers = nn.ModuleDict({name: guide(name) for name in guides})
        if "class" not in guides:  # nothing says what is healthy: scores that ask for it are refused
            self.log_healthy = None  # type: ignore[assignment]

    # -- what scores and edits ask -----------------------------------------------------------------

    def log_healthy(self, noisy: Tensor, t: int) -> Tensor:
        """Log p(healthy | x_t, t) of the guide, (B,)."""
        return F.log_softmax(self.told("class", noisy, t), dim=1)[:, HEALTHY]

    def checked_healthy(self, x: Tensor) -> Tensor:
        """Log p(healthy | x₀) of the checker, (B,)."""
        return F.log_softmax(self.told("class", x, 1, checker=True), dim=1)[:, HEALTHY]

    @property
    def covariates(self) -> Sequence[str]:
        """What its batches have as ``covariates``: the conditions, the age for its guide, and
        whether somebody is of the target.
        """
        known = (name for name in self.guides if name in COVARIATES)
        return tuple(dict.fromkeys((*self.conditions, *known, *of_site(self.target))))

    def rate_of(self, parameter: str) -> float:
        """The centres of a guide move twice as fast as the rest."""
        return FASTER if ".head.centres." in parameter else 1.0

    def guide_names(self) -> Sequence[str]:
        """Those it was built with."""
        return tuple(self.guides)

    def told(self, name: str, noisy: Tensor, t: int, *, checker: bool = False) -> Tensor:
        """What a guide or checker says of x_t: logits (B, 2) of ``class``, ``area`` or the
        standardised ``age`` (B, 1), or logits (B, 1, S) of ``mask``.
        """
        if name not in self.guides:
            raise ConfigError(
                f"the model has no guide '{name}', only {', '.join(self.guides)}; "
                "fit it with --set model.guides"
            )
        steps = torch.full((len(noisy),), t, device=noisy.device)
        found: Tensor = (self.checkers if checker else self.guides)[name](noisy, steps)
        return found

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return diseased(lesion)

    # -- learning ----------------------------------------------------------------------------------

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
            return self.diffusion_loss(x, generator, label, covariates=batch.covariates)
        name, _, checker = turn.partition("-")
        # checkers judge finished images: a tenth of the steps, at most, so that they do not hang on
        # single pixels
        most = max(1, self.schedule.steps // 10) if checker else self.schedule.steps
        share = torch.rand(len(x), generator=generator, device=x.device)
        if not checker:  # half of the samples in the first quarter, where there is something to see
            share = share**2
        t = 1 + (share * most).long().clamp(max=most - 1)
        noisy = self.schedule.add_noise(x, torch.randn(x.shape, generator=generator, device=x.device), t)
        net = (self.checkers if checker else self.guides)[name]
        if isinstance(net, SphereGuide):
            of_target = batch.known[:, self.covariates.index(self.anchor)] == 1
            return net.losses(noisy, t, self.label(lesion), of_target)
        found = net(noisy, t).float()
        return {"loss": self._error(name, found, batch)}

    def _error(self, name: str, found: Tensor, batch: Batch) -> Tensor:
        if name == "class":
            return F.cross_entropy(found, self.label(batch.truth))
        if name == "mask":
            return F.binary_cross_entropy_with_logits(found, batch.truth)
        true = area(batch.truth, batch.mask)
        if name == "age":
            true = batch.known[:, self.covariates.index(name)]
        known = ~true.isnan()
        squares = (found[:, 0] - true.nan_to_num(0.0)) ** 2 * known
        return squares.sum() / known.sum().clamp(min=1)

    @torch.no_grad()
    def quality(
        self, x: Tensor, mask: Tensor, lesion: Tensor, t: int, *, checker: bool = False
    ) -> dict[str, float]:
        """How good the guides of lesions are at step t: accuracy of ``class``, mean absolute error
        of ``area``, pooled Dice of ``mask``.
        """
        noisy = self.schedule.add_noise(x, self.noise(t, x), t)
        found = {}
        for name in self.guides:
            told = self.told(name, noisy, t, checker=checker)
            if name == "class":
                found["accuracy"] = float((told.argmax(dim=1) == self.label(lesion)).float().mean())
            elif name == "area":
                found["mae"] = float((told[:, 0] - area(lesion, mask)).abs().mean())
            elif name == "mask":
                drawn = told > 0
                found["dice"] = float(2 * (drawn * lesion).sum() / (drawn.sum() + lesion.sum()).clamp(min=1))
        return found


def area(lesion: Tensor, mask: Tensor) -> Tensor:
    """Lesion area / foreground area of each sample, (B, 1, S) to (B,)."""
    return lesion.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)
