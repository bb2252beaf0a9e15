"""The healthy counterpart by guided diffusion: encode the scan, decode it towards *healthy*, compare (W3, W46)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from aberra.diffusion.guidance import guided, held, refined, without_classifier
from aberra.diffusion.samplers import coupled, sample
from aberra.errors import ConfigError
from aberra.options import Count, Maybe, NotNegative, Sigma, Step, Within, configured
from aberra.scores import Scored
from aberra.scores.residual import Sign, signed
from aberra.scores.restoration import AUTO, Auto
from aberra.scores.smoothing import smoothed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
"""Change that guidance may do to healthy validation slices, against their round trip without it, as a share of their mean absolute
intensity."""

SLICES = 16
"""Healthy and diseased validation slices that ``tune`` looks at, each."""


class Guided:
    """Map ``|r − x_h|``, mean over channels; x_h is decoded from the scan's own noise under guidance towards *healthy*, r is the scan.

    Wolleb, Bieder, Sandkühler, Cattin 2022 (MICCAI, arXiv 2203.04306): DDIM encoding to step L, DDIM decoding with
    ``ε̂ = ε − s·√(1 − ᾱ_t)·∇ log p(healthy | x_t)``. Their ablation ``sampler = "ddpm"`` draws noise to step L instead of encoding and
    goes down with DDPM steps (W46).

    Args:
        sampler: ``ddim`` (published), ``dpm-solver`` (second order), ``coupled`` (exact inverse, two calls a step) or ``ddpm``.
        steps: steps down from L, and up to it where ``encode_steps`` does not say otherwise; the network is called once a step
            (``coupled`` twice; ``ddpm`` does not go up). Published: every step, 1000 calls at L = 500.
        encode_steps: steps up; 0 is as many as down.
        encoder: sampler of the way up, ``ddim`` or ``dpm-solver``; the sampler itself without.
        power: steps lie at L·(i / steps)^power: 1 is even (published), above it they are denser near the image, where encoding errs.
        guide_steps: steps of the guide to one of the network, whose ε̂ is held in between; of ``ddim`` with a classifier only.
        start: L; published 500 of T = 1000. ``auto``: see ``scale``.
        scale: s; published 100. ``auto``: (start, scale) are chosen on validation cases by :meth:`tune`, else half of T and 100.
        guidance: ``classifier`` (published), ``free`` (classifier-free; ``scale`` is then its weight w) or ``none``.
        condition: class that the network is told, if it is ``conditional``: ``none`` (published method), ``healthy``, or
            ``source-then-healthy`` (encoded with what the guide takes the scan for, decoded as healthy).
        clip: keep x̂₀ within the scan's own range while decoding.
        reference: r: ``scan`` (published) or ``round-trip``, the scan encoded and decoded without guidance from the same noise, so that
            only what guidance changed is on the map and not what a few steps lose; ``steps`` further calls, none for ``coupled``, whose
            round trip is the scan.
        mode: sign of the map, as in :class:`aberra.scores.residual.Residual`: ``absolute``, ``positive`` or ``negative``.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option or a number out of range.

    Deviation: mean over channels instead of the sum.
    """

    name = "guided"
    needs = ("Denoises", "JudgesHealth")
    unit = "intensity"
    ENCODERS = ("ddim", "dpm-solver")

    @configured("score")
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
        mode: Sign = "absolute",
        smooth: Sigma = 0.0,
    ) -> None:
        if sampler not in self.ENCODERS and (encoder or encode_steps):
            raise ConfigError(
                f"score.encoder and score.encode_steps with sampler='{sampler}', which has its own way to noise; expected neither"
            )
        if guide_steps > 1 and (sampler != "ddim" or guidance != "classifier"):
            raise ConfigError(
                f"score.guide_steps={guide_steps} with sampler='{sampler}', guidance='{guidance}'; expected ddim and classifier, or 1"
            )
        if reference == "round-trip" and guidance == "none" and condition != "source-then-healthy":
            raise ConfigError(
                f"score.reference='round-trip' without guidance and with condition='{condition}' compares the same two images; "
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
        self.mode = mode
        self.smooth = smooth

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        # the guide needs its gradient; everything else is without
        found = run(lambda batch: torch.cat(self.pair(model, batch), dim=1), x, mask, grad=True)
        reference, restored = found[: len(x)], found[-len(x) :]
        values = signed(reference - restored, self.mode).mean(dim=0)
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), restored * mask)

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

    # -- choosing L and s ------------------------------------------------------------------------------------------

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, float]:
        """Choose L and s where they are ``auto``: the smallest edit that does its work, on validation cases only.

        Only diseased slices count that the checker, which never guides, takes for diseased; change is against the round trip without
        guidance. Among the settings that change healthy slices by at most 5 % of the mean absolute intensity, and after which the
        checker finds at least 80 % of the diseased slices healthy, the one that changes them least; where none flips so many, the one
        that raises the checker's log p(healthy) most.
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
            self.start, self.scale = starts[-1], scales[-1]
            return {"start": self.start, "scale": self.scale}
        tried: list[_Trial] = []
        bound = IDENTITY * float(healthy.abs().mean())
        for start in starts:
            for scale in scales:
                self.start, self.scale = start, scale
                kept, _ = self._edit(model, healthy, run)
                change, told = self._edit(model, sick, run)
                tried.append(_Trial(start, scale, kept <= bound, change, told))
        safe = [each for each in tried if each.safe] or tried
        working = [each for each in safe if each.flipped >= FLIPPED]
        best = (
            min(working, key=lambda each: each.change)
            if working
            else max(safe, key=lambda each: each.told.mean())
        )
        self.start, self.scale = best.start, best.scale
        return {"start": self.start, "scale": self.scale}

    def _edit(self, model: Any, x: Tensor, run: Runner) -> tuple[float, Tensor]:
        """Mean absolute change of slices (B, C, S) by guidance, and the checker's log p(healthy) afterwards, (B,)."""
        parts = [
            self.pair(model, part.to(run.device), "round-trip") for part in torch.split(x, run.batch_size)
        ]
        plain, changed = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
        return float((plain - changed).abs().mean()), _told(model, changed, run)


@dataclass(frozen=True)
class _Trial:
    """One setting on the validation slices: L, s, whether healthy slices are kept, change and log p(healthy) of diseased ones."""

    start: int
    scale: float
    safe: bool
    change: float
    told: Tensor

    @property
    def flipped(self) -> float:
        """Share that the checker finds healthy."""
        return float((self.told > HEALTHY).float().mean())


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
        windows: list[Tensor] = []

        def keep(batch: Tensor, into: list[Tensor] = windows) -> Tensor:
            into.append(batch.cpu())
            return batch

        run(keep, torch.cat([x, inside[None], lesion[None]]), inside > 0)
        every = torch.cat(windows)
        full = every[:, -2].flatten(1).mean(dim=1)
        every = every[full >= 0.5 * full.max()]
        touched = every[:, -1].flatten(1).amax(dim=1) > 0
        for into, chosen in ((healthy, every[~touched]), (sick, every[touched])):
            into.extend(chosen[torch.linspace(0, len(chosen) - 1, min(4, len(chosen))).long(), :-2])
    empty = torch.zeros(0)
    picked = [
        torch.stack(each)[torch.linspace(0, len(each) - 1, min(SLICES, len(each))).long()] if each else empty
        for each in (healthy, sick)
    ]
    return picked[0], picked[1]
