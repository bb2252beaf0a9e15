"""The healthy counterpart by guided diffusion: encode the scan, decode it towards *healthy*, compare (W3, W46)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.diffusion.guidance import guided, without_classifier
from aberra.diffusion.samplers import coupled, ddim, dpm_solver, sample
from aberra.errors import ConfigError, unknown
from aberra.scores import Scored
from aberra.scores.residual import SIGNS, signed
from aberra.scores.restoration import AUTO
from aberra.scores.smoothing import checked_sigma, smoothed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from aberra.diffusion.samplers import Denoise
    from aberra.inference import Runner
    from aberra.volume import Volume

STARTS = (0.25, 0.5)
SCALES = (1.0, 10.0, 100.0)
FREE_SCALES = (1.5, 3.0, 6.0)
"""What ``tune`` tries: L as a share of T, s, and w without a classifier."""

FLIPPED = 0.8
"""Share of diseased validation slices that the checker must find healthy after the edit."""

IDENTITY = 0.05
"""Change that healthy validation slices may suffer on top of encoding and decoding without guidance, as a share of their mean
absolute intensity."""

SLICES = 16
"""Healthy and diseased validation slices that ``tune`` looks at, each."""


class Guided:
    """Map ``|x − x_h|``, mean over channels; x_h is decoded from the scan's own noise under guidance towards *healthy*.

    Wolleb, Bieder, Sandkühler, Cattin 2022 (MICCAI, arXiv 2203.04306): DDIM encoding to step L, DDIM decoding with
    ``ε̂ = ε − s·√(1 − ᾱ_t)·∇ log p(healthy | x_t)``. Their ablation ``sampler = "ddpm"`` draws noise to step L instead of encoding and
    goes down with DDPM steps (W46).

    Args:
        sampler: ``ddim`` (published), ``dpm-solver`` (second order), ``coupled`` (exact inverse, two calls a step) or ``ddpm``.
        steps: steps in each direction, evenly spread from L; the network is called 2·steps times (``coupled`` 4·steps, ``ddpm``
            steps), the guide ``steps`` times. Published: every step, 1000 calls at L = 500.
        start: L; published 500 of T = 1000. ``auto``: see ``scale``.
        scale: s; published 100. ``auto``: (start, scale) are chosen on validation cases by :meth:`tune`, else half of T and 100.
        guidance: ``classifier`` (published), ``free`` (classifier-free; ``scale`` is then its weight w) or ``none``.
        condition: class that the network is told, if it is ``conditional``: ``none`` (published method), ``healthy``, or
            ``source-then-healthy`` (encoded with what the guide takes the scan for, decoded as healthy).
        clip: keep x̂₀ within the scan's own range while decoding.
        mode: sign of the map, as in :class:`aberra.scores.residual.Residual`: ``absolute``, ``positive`` or ``negative``.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels (3-D); 0 is off.

    Raises:
        ConfigError: unknown option or a number out of range.

    Deviation: mean over channels instead of the sum.
    """

    needs = ("Denoises", "JudgesHealth")
    SAMPLERS = ("ddim", "dpm-solver", "coupled", "ddpm")
    GUIDANCE = ("classifier", "free", "none")
    CONDITIONS = ("none", "healthy", "source-then-healthy")

    def __init__(
        self,
        *,
        sampler: str = "ddim",
        steps: int = 25,
        start: int | str = AUTO,
        scale: float | str = AUTO,
        guidance: str = "classifier",
        condition: str = "none",
        clip: bool = False,
        mode: str = "absolute",
        smooth: float = 0.0,
    ) -> None:
        for name, value, known in (
            ("sampler", sampler, self.SAMPLERS),
            ("guidance", guidance, self.GUIDANCE),
            ("condition", condition, self.CONDITIONS),
            ("mode", mode, SIGNS),
        ):
            if value not in known:
                raise unknown(f"score.{name}", value, known)
        for name, option in (("start", start), ("scale", scale)):
            if isinstance(option, str) and option != AUTO:
                raise ConfigError(f"score.{name}='{option}'; expected a number or '{AUTO}'")
        if steps < 1 or (not isinstance(scale, str) and scale < 0):
            raise ConfigError(
                f"score: steps={steps}, scale={scale}; expected 1 or more steps and a scale of 0 or more"
            )
        self.sampler = sampler
        self.steps = steps
        self.start = None if isinstance(start, str) else start
        self.scale = None if isinstance(scale, str) else scale
        self.guidance = guidance
        self.condition = condition
        self.clip = clip
        self.mode = mode
        self.smooth = checked_sigma(smooth)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        # the guide needs its gradient; everything else is without
        restored = run(lambda batch: self.counterpart(model, batch), x, mask, grad=True)
        values = signed(x - restored, self.mode).mean(dim=0)
        return Scored(smoothed(values, mask, sigma=self.smooth, dims=run.dims), restored * mask)

    @torch.no_grad()
    def counterpart(self, model: Any, x: Tensor) -> Tensor:
        """Healthy version of a batch (B, C, S)."""
        process = model.process()
        start = self.start or process.steps // 2
        down = process.times(self.steps, start)
        up = down[::-1]
        encode, decode = self._denoisers(model, x)
        if self.sampler == "ddpm":
            noisy = process.add_noise(x, model.noise(0, x), start)
            return sample("ddpm", decode, noisy, down, process)
        if self.sampler == "coupled":
            pair = coupled(encode, (x, x), up, process)
            return coupled(decode, pair, down, process)[0].to(x)
        solve = ddim if self.sampler == "ddim" else dpm_solver
        return solve(decode, solve(encode, x, up, process), down, process)

    def _denoisers(self, model: Any, x: Tensor) -> tuple[Denoise, Denoise]:
        """What encodes and what decodes, guidance inside."""
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

        Only diseased slices count that the checker, which never guides, takes for diseased. Among the settings whose change of healthy
        slices exceeds that of encoding and decoding alone by at most 5 % of the mean absolute intensity, and after which the checker
        finds at least 80 % of the diseased slices healthy, the one that changes them least; where none flips so many, the one that
        flips most.
        """
        if (self.start is not None and self.scale is not None) or self.guidance == "none":
            return {}
        healthy, sick = _slices(volumes, run)
        if len(sick):
            sick = sick[~self._healthy(model, sick, run)]
        steps = model.process().steps
        starts = [self.start] if self.start is not None else [round(share * steps) for share in STARTS]
        weights = FREE_SCALES if self.guidance == "free" else SCALES
        scales = [self.scale] if self.scale is not None else list(weights)
        if not len(healthy) or not len(sick):  # nothing to choose by
            self.start, self.scale = starts[-1], scales[-1]
            return {"start": self.start, "scale": self.scale}
        found: list[tuple[bool, float, float, int, float]] = []
        bound = IDENTITY * float(healthy.abs().mean())
        for start in starts:
            self.start = start
            idle = self._change(model, healthy, run, scale=0.0)[0]
            for scale in scales:
                kept, _ = self._change(model, healthy, run, scale=scale)
                edit, flipped = self._change(model, sick, run, scale=scale)
                found.append((kept <= idle + bound, flipped, edit, start, scale))
        safe = [each for each in found if each[0]] or found
        working = [each for each in safe if each[1] >= FLIPPED]
        best = (
            min(working, key=lambda each: each[2])
            if working
            else max(safe, key=lambda each: (each[1], -each[2]))
        )
        self.start, self.scale = best[3], best[4]
        return {"start": self.start, "scale": self.scale}

    def _change(self, model: Any, x: Tensor, run: Runner, *, scale: float) -> tuple[float, float]:
        """Mean absolute change of slices (B, C, S), and the share that the checker finds healthy afterwards."""
        before, self.scale = self.scale, scale
        changed = torch.cat(
            [self.counterpart(model, part.to(run.device)).cpu() for part in torch.split(x, run.batch_size)]
        )
        self.scale = before
        return float((x - changed).abs().mean()), float(self._healthy(model, changed, run).float().mean())

    @staticmethod
    @torch.no_grad()
    def _healthy(model: Any, x: Tensor, run: Runner) -> Tensor:
        """Whether the checker finds each slice healthy, (B,)."""
        told = [model.checked_healthy(part.to(run.device)).cpu() for part in torch.split(x, run.batch_size)]
        return torch.cat(told) > torch.tensor(0.5).log()


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
