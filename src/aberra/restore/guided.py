"""The healthy counterpart by guided diffusion: encode the scan, decode it towards *healthy*."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from aberra.capabilities import Denoises, JudgesHealth
from aberra.diffusion.guidance import guided, held, refined, without_classifier
from aberra.diffusion.samplers import coupled, sample
from aberra.errors import ConfigError
from aberra.options import Count, Maybe, NotNegative, Step, Within, configured
from aberra.restore import Restored, Restores
from aberra.restore.healthy import AUTO, Auto

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.diffusion.samplers import Denoise
    from aberra.volume import Volume

STARTS = (0.25, 0.5)
SCALES = (1.0, 10.0, 100.0)
FREE_SCALES = (1.5, 3.0, 6.0)
"""What ``tune`` tries: L as a share of T, s, and w without a classifier."""

HEALTHY = log(0.5)
"""Log p(healthy) above which the checker finds a slice healthy."""

FLIPPED = 0.8
"""Share of diseased validation slices that the checker must find healthy after the edit."""

IDENTITY = 0.05
"""Change that guidance may do to healthy validation slices, against their round trip without it, as
a share of their mean absolute intensity."""

SLICES = 16
"""Healthy and diseased validation slices that ``tune`` looks at, each."""


class Guided(Restores):
    """x_h, decoded from the scan's own noise under guidance towards *healthy*; the published map is
    ``|r − x_h|``, r the scan.

    Wolleb, Bieder, Sandkühler, Cattin 2022 (MICCAI, arXiv 2203.04306): DDIM encoding to step L,
    DDIM decoding with ``ε̂ = ε − s·√(1 − ᾱ_t)·∇ log p(healthy | x_t)``. Their ablation
    ``sampler = "ddpm"`` draws noise to step L instead of encoding and goes down with DDPM steps.

    Args:
        sampler: ``ddim`` (published), ``dpm-solver`` (second order), ``coupled`` (exact inverse,
            two calls a step) or ``ddpm``.
        steps: steps down from L, and up to it where ``encode_steps`` does not say otherwise; the
            network is called once a step (``coupled`` twice; ``ddpm`` does not go up). Published:
            every step, 1000 calls at L = 500.
        encode_steps: steps up; 0 is as many as down.
        encoder: sampler of the way up, ``ddim`` or ``dpm-solver``; the sampler itself without.
        power: steps lie at L·(i / steps)^power: 1 is even (published), above it they are denser
            near the image, where encoding errs.
        guide_steps: steps of the guide to one of the network, whose ε̂ is held in between; of
            ``ddim`` with a classifier only.
        start: L; published 500 of T = 1000. ``auto``: see ``scale``.
        scale: s; published 100. ``auto``: (start, scale) are chosen on validation cases
            by :meth:`tune`, else half of T and 100.
        guidance: ``classifier`` (published), ``free`` (classifier-free; ``scale`` is then its
            weight w) or ``none``.
        condition: class that the network is told, if it is ``conditional``: ``none`` (published
            method), ``healthy``, or ``source-then-healthy`` (encoded with what the guide takes the
            scan for, decoded as healthy).
        clip: keep x̂₀ within the scan's own range while decoding.
        reference: r: ``scan`` (published) or ``round-trip``, the scan encoded and decoded without
            guidance from the same noise, so that only what guidance changed is on the map and not
            what a few steps lose; ``steps`` further calls, none for ``coupled``, whose round trip
            is the scan.

    Raises:
        ConfigError: unknown option or a number out of range.

    Deviation: our comparison takes the mean over channels instead of the sum.
    """

    name = "guided"
    needs = (Denoises, JudgesHealth)
    grad = True
    ENCODERS = ("ddim", "dpm-solver")

    @configured("score.restore")
    def __init__(
        self,
        *,
        sampler: Literal["ddim", "dpm-solver", "coupled", "ddpm"] = "ddim",
        steps: Step = 25,
        encode_steps: Maybe = 0,
        encoder: Literal["", "ddim", "dpm-solver"] = "",
        power: Annotated[float, Within(1)] = 1.0,
        guide_steps: Count = 1,
        start: Step | Auto = AUTO,
        scale: NotNegative | Auto = AUTO,
        guidance: Literal["classifier", "free", "none"] = "classifier",
        condition: Literal["none", "healthy", "source-then-healthy"] = "none",
        clip: bool = False,
        reference: Literal["scan", "round-trip"] = "scan",
    ) -> None:
        if sampler not in self.ENCODERS and (encoder or encode_steps):
            raise ConfigError(
                f"score.restore.encoder and score.restore.encode_steps with sampler='{sampler}', which has its own way to noise; expected neither"
            )
        if guide_steps > 1 and (sampler != "ddim" or guidance != "classifier"):
            raise ConfigError(
                f"score.restore.guide_steps={guide_steps} with sampler='{sampler}', guidance='{guidance}'; expected ddim and classifier, or 1"
            )
        if reference == "round-trip" and guidance == "none" and condition != "source-then-healthy":
            raise ConfigError(
                f"score.restore.reference='round-trip' without guidance and with condition='{condition}' compares the same two images; "
                "expected guidance, condition='source-then-healthy' or reference='scan'"
            )
        self.sampler = sampler
        self.steps = steps
        self.encode_steps = encode_steps or steps
        self.encoder = encoder or sampler
        self.power = power
        self.guide_steps = guide_steps
        self.start = None if isinstance(start, str) else start
        self.scale = None if isinstance(scale, str) else scale
        self.guidance = guidance
        self.condition = condition
        self.clip = clip
        self.reference = reference

    def __call__(self, model: Any, x: Tensor) -> Iterator[Restored]:
        """Yield one healthy version of a batch (B, C, S).

        The guide needs its gradient; everything else is without.
        """
        reference, restored = self.pair(model, x)
        yield Restored(restored, reference)

    def counterpart(self, model: Any, x: Tensor) -> Tensor:
        """Healthy version of a batch (B, C, S)."""
        return self._decoded(model, x, plain=False)[-1]

    def pair(self, model: Any, x: Tensor, reference: str = "") -> tuple[Tensor, Tensor]:
        """Reference r (by default the score's) and healthy version of a batch, (B, C, S) each."""
        plain = (reference or self.reference) == "round-trip" and self.sampler != "coupled"
        found = self._decoded(model, x, plain=plain)
        return found[0] if plain else x, found[-1]

    @torch.no_grad()
    def _decoded(self, model: Any, x: Tensor, *, plain: bool) -> list[Tensor]:
        """The batch decoded without guidance, if ``plain``, and with it, from the same noise."""
        process = model.process()
        start = self.start or process.steps // 2
        down = process.times(self.steps, start, self.power)
        up = process.times(self.encode_steps, start, self.power)[::-1]
        encode, decode = self._denoisers(model, x, down)
        if self.sampler == "coupled":
            both = coupled(encode, (x, x), up, process)
            return [coupled(decode, both, down, process)[0].to(x)]
        if self.sampler == "ddpm":
            noisy = process.add_noise(x, model.noise(0, x), down[0])
        else:
            noisy = sample(self.encoder, encode, x, up, process)
        led = decode, refined(down, self.guide_steps)
        ways = ((encode, down), led) if plain else (led,)
        return [sample(self.sampler, denoise, noisy, times, process) for denoise, times in ways]

    def _denoisers(self, model: Any, x: Tensor, down: Sequence[int]) -> tuple[Denoise, Denoise]:
        """What encodes and what decodes, guidance inside, if the network is asked at ``down`` only."""
        source: int | Tensor | None = None if self.condition == "none" else 0
        if self.condition == "source-then-healthy":
            source = (model.log_healthy(x, 1).exp() < 0.5).long()

        def told(label: int | Tensor | None) -> Denoise:
            return lambda noisy, t: model.denoise(noisy, t, label)

        process, scale = model.process(), 100.0 if self.scale is None else self.scale
        encode = told(source)
        if self.guidance == "free":
            return encode, without_classifier(told(0), told(None), process, weight=scale)
        decode = told(None if self.condition == "none" else 0)
        if self.guide_steps > 1:
            decode = held(decode, down, process)
        if self.guidance == "none" or scale == 0:
            return encode, decode
        axes = tuple(range(1, x.ndim))
        bounds = (x.amin(dim=axes, keepdim=True), x.amax(dim=axes, keepdim=True)) if self.clip else None
        return encode, guided(
            decode, lambda noisy, t: scale * model.log_healthy(noisy, t), process, clip=bounds
        )

    # -- choosing L and s --------------------------------------------------------------------------

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Choose L and s where they are ``auto``: the smallest edit that does its work, on
        validation cases only.

        Only diseased slices count that the checker, which never guides, takes for diseased; change
        is against the round trip without guidance. Among the settings that change healthy slices by
        at most 5 % of the mean absolute intensity, and after which the checker finds at least 80 %
        of the diseased slices healthy, the one that changes them least; where none flips so many,
        the one that raises the checker's log p(healthy) most.
        """
        if (self.start is not None and self.scale is not None) or self.guidance == "none":
            return {}
        healthy, sick = _slices(volumes, run)
        if len(sick):
            sick = sick[_told(model, sick, run) <= HEALTHY]
        steps = model.process().steps
        starts = [self.start] if self.start is not None else [round(share * steps) for share in STARTS]
        weights = FREE_SCALES if self.guidance == "free" else SCALES
        scales = [self.scale] if self.scale is not None else list(weights)
        if not len(healthy) or not len(sick):  # nothing to choose by
            return {"start": starts[-1], "scale": scales[-1]}
        tried: list[_Trial] = []
        bound = IDENTITY * float(healthy.abs().mean())
        for start in starts:
            for scale in scales:
                trial = copy(self)
                trial.start, trial.scale = start, scale
                kept, _ = _edit(trial, model, healthy, run)
                change, told = _edit(trial, model, sick, run)
                tried.append(_Trial(start, scale, kept <= bound, change, told))
        safe = [each for each in tried if each.safe] or tried
        working = [each for each in safe if each.flipped >= FLIPPED]
        best = (
            min(working, key=lambda each: each.change)
            if working
            else max(safe, key=lambda each: each.told.mean())
        )
        return {"start": best.start, "scale": best.scale}


@dataclass(frozen=True)
class _Trial:
    """One setting on the validation slices: L, s, whether healthy slices are kept, change and log
    p(healthy) of diseased ones.
    """

    start: int
    scale: float
    safe: bool
    change: float
    told: Tensor

    @property
    def flipped(self) -> float:
        """Share that the checker finds healthy."""
        return float((self.told > HEALTHY).float().mean())


def _edit(way: Guided, model: Any, x: Tensor, run: Runner) -> tuple[float, Tensor]:
    """Mean absolute change of slices (B, C, S) by guidance, and the checker's log p(healthy)
    afterwards, (B,).
    """
    parts = [way.pair(model, part.to(run.device), "round-trip") for part in torch.split(x, run.batch_size)]
    plain, changed = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
    return float((plain - changed).abs().mean()), _told(model, changed, run)


@torch.no_grad()
def _told(model: Any, x: Tensor, run: Runner) -> Tensor:
    """The checker's log p(healthy) of each slice, (B,)."""
    return torch.cat(
        [model.checked_healthy(part.to(run.device)).cpu() for part in torch.split(x, run.batch_size)]
    )


def _slices(volumes: Iterable[Volume], run: Runner) -> tuple[Tensor, Tensor]:
    """Healthy and diseased validation slices or windows, evenly over the volumes: (B, C, S) each."""
    healthy: list[Tensor] = []
    sick: list[Tensor] = []
    for volume in volumes:
        x = torch.from_numpy(volume.data)
        inside = torch.ones(volume.shape) if volume.mask is None else torch.from_numpy(volume.mask).float()
        lesion = (
            torch.zeros(volume.shape) if volume.lesion is None else torch.from_numpy(volume.lesion).float()
        )
        windows = run.windows(x, inside > 0, also=(inside[None], lesion[None]))
        image, full, touched = (torch.cat(parts) for parts in zip(*windows, strict=True))
        share = full.flatten(1).mean(dim=1)
        chosen = share >= 0.5 * share.max()
        image, diseased = image[chosen], touched[chosen].flatten(1).amax(dim=1) > 0
        for into, each in ((healthy, image[~diseased]), (sick, image[diseased])):
            into.extend(_evenly(each, 4))
    return tuple(_evenly(torch.stack(each), SLICES) if each else torch.zeros(0) for each in (healthy, sick))  # type: ignore[return-value]


def _evenly(x: Tensor, count: int) -> Tensor:
    """At most so many of the first axis, evenly spread."""
    return x[torch.linspace(0, len(x) - 1, min(count, len(x))).long()]
